"""How the networks of scenario 1 that ship were trained, each resumable.

ALL: {name: function(config, work, out)}, in the order in which they need each other. `work`
holds checkpoints, `out` gets the weights and their manifest.
"""

import time
from functools import partial
from pathlib import Path

from idf.config import Config, UserError
from idf.data.faces import open_faces
from idf.judge import judge_accuracy, train_judge
from idf.zoo.grid import (
    EDITORS,
    GRID_POISONERS,
    load_grid_poisoner,
    needs_of_poisoner,
    train_grid_poisoner,
)
from idf.zoo.load import SURROGATE, judged_domains, load_judge, load_surrogate
from idf.zoo.manifest import export, read_manifest


def load(config: Config, name: str, folder: Path) -> None:
    """Loads what ALL calls `name`, to see whether folder holds it for these settings.

    Raises UserError if not.
    """
    if name == "judge":
        load_judge(config, folder)
        return
    _check_domains(config, name, folder)
    if name in GRID_POISONERS:
        load_grid_poisoner(config, *GRID_POISONERS[name], folder)
    elif name == SURROGATE:
        load_surrogate(config, folder)
    else:
        EDITORS[name].load(config, folder)


def _check_domains(config: Config, name: str, folder: Path) -> None:
    """An editor of other domains has the same shape, but would forge something else."""
    own = EDITORS[name].config(config) if name in EDITORS else config
    entry = read_manifest(folder).get(name)
    if entry and tuple(entry["domains"]) != own.domains:
        raise UserError(f"{folder} holds {name} for other domains: {', '.join(entry['domains'])}.")


def shorten(config: Config) -> Config:
    """The few iterations that a notebook trains where no weights ship for its settings."""
    n = config.live_iterations
    judge = max(n, config.judge.iterations // 10)
    lengths = {"editor.iterations": n, "poisoner.iterations": n, "judge.iterations": judge}
    return config.changed(**lengths)


def _judge(config: Config, work: Path, out: Path) -> None:
    start = time.monotonic()
    domains = judged_domains(config)
    run = train_judge(config, open_faces(config, "train", domains), folder=work / "judge")
    accuracy = judge_accuracy(run.judge, open_faces(config, "test", domains))
    print({name: round(value, 3) for name, value in accuracy.items()})
    facts = (config.judge.iterations, time.monotonic() - start)
    export(config, out, "judge", run.judge, *facts, {"accuracy": accuracy})


def _poisoner(method: str, seed: int, config: Config, work: Path, out: Path) -> None:
    train_grid_poisoner(config, method, seed, work, out)


ALL = {"judge": _judge}
ALL |= {name: editor.train for name, editor in EDITORS.items()}
ALL |= {name: partial(_poisoner, *which) for name, which in GRID_POISONERS.items()}


def needs(name: str) -> tuple[str, ...]:
    """The names of ALL whose weights the training of this one reads."""
    if name in GRID_POISONERS:
        return needs_of_poisoner(*GRID_POISONERS[name])
    return EDITORS[name].needs if name in EDITORS else ()
