"""How the networks of scenario 1 that ship were trained, each resumable.

RECIPES: {name: function(config, work, out)}, in the order in which they need each other. `work`
holds checkpoints, `out` gets the weights and their manifest.
"""

import time
from functools import partial
from pathlib import Path

from idf.config import Config, UserError
from idf.data.faces import open_faces
from idf.editing import StageA, Training, make_training, train, train_editor, train_target
from idf.imitation import imitate
from idf.judge import judge_accuracy, train_judge
from idf.zoo.grid import (
    EDITORS,
    GRID_POISONERS,
    load_grid_poisoner,
    train_grid_poisoner,
)
from idf.zoo.load import (
    judged_domains,
    load_judge,
    load_poisoner,
    load_surrogate,
    load_target,
    target_name,
    with_other_domains,
)
from idf.zoo.manifest import export, read_manifest


def load(config: Config, name: str, folder: Path) -> None:
    """Loads what RECIPES calls `name`, to see whether folder holds it for these settings.

    Raises UserError if not.
    """
    if name in EDITORS:
        EDITORS[name].load(config, folder)
        return
    if name in GRID_POISONERS:
        load_grid_poisoner(config, *GRID_POISONERS[name], folder)
        return
    _check_domains(config, name, folder)
    if name.endswith("_DD"):
        load_target(with_other_domains(config), folder)
    elif name.startswith("target"):
        load_target(config, folder, tuned=name.endswith("_tuned"))
    elif name.startswith("poisoner"):
        load_poisoner(config, name, folder)
    elif name == "judge":
        load_judge(config, folder)
    else:
        load_surrogate(config, folder)
        load_poisoner(config, "poisoner", folder)


def _check_domains(config: Config, name: str, folder: Path) -> None:
    """An editor of other domains has the same shape, but would forge something else."""
    if name == "judge":
        return
    own = with_other_domains(config) if name.endswith("_DD") else config
    entry = read_manifest(folder).get(name)
    if entry and tuple(entry["domains"]) != own.domains:
        raise UserError(f"{folder} holds {name} for other domains: {', '.join(entry['domains'])}.")


def shorten(config: Config) -> Config:
    """The few iterations that a notebook trains where no weights ship for its settings."""
    n = config.live_iterations
    judge = max(n, config.judge.iterations // 10)
    lengths = {"editor.iterations": n, "target.iterations": n, "judge.iterations": judge}
    return config.changed(**lengths)


def target_config(config: Config, iterations: int = 0) -> Config:
    """The settings of M's own training.

    The forger draws its own seed: it shares neither initial weights nor batches with SM.
    """
    length, decay = iterations or config.target.iterations, config.target.decay
    own = {"editor.iterations": length, "editor.decay": decay}
    return config.changed(seed=config.seed + 100, **own)


def _judge(config: Config, work: Path, out: Path) -> None:
    start = time.monotonic()
    domains = judged_domains(config)
    run = train_judge(config, open_faces(config, "train", domains), folder=work / "judge")
    accuracy = judge_accuracy(run.judge, open_faces(config, "test", domains))
    print({name: round(value, 3) for name, value in accuracy.items()})
    facts = (config.judge.iterations, time.monotonic() - start)
    export(config, out, "judge", run.judge, *facts, {"accuracy": accuracy})


def _target(config: Config, work: Path, out: Path, tuned: bool = False) -> None:
    own, start = target_config(config), ()
    if tuned:  # a forger who downloads published weights and trains them on with faces of its own
        own = target_config(config, max(1, config.editor.iterations // 4))
        start = load_surrogate(config, out)
    name = target_name(config, tuned)
    run = make_training(own, *start, network=config.target.network)
    with run.accelerator.main_process_first():  # one process fills the cache for all
        faces = open_faces(own, "target")
    train_target(run, faces, folder=work / name)
    export(own, out, name, run.surrogate, run.iteration, run.seconds)


def _dd_target(config: Config, work: Path, out: Path) -> None:
    _target(with_other_domains(config), work, out)


def _surrogate(config: Config, work: Path, out: Path) -> None:
    run = _train(config, make_training(config), work / "surrogate")
    facts = (run.iteration, run.seconds)
    export(config, out, "surrogate", run.surrogate, *facts)
    export(config, out, "d_a", run.d_a, *facts)
    export(config, out, "poisoner", run.best, *facts)


def _poisoner_no_ats(config: Config, work: Path, out: Path) -> None:
    run = make_training(config, *load_surrogate(config, out))
    _train(config, run, work / "poisoner_no_ats", stage_a=None)
    export(config, out, "poisoner_no_ats", run.best, run.iteration, run.seconds)


def _poisoner_queries(config: Config, work: Path, out: Path) -> None:
    # the editor that is imitated has no D_A that we could know: no L_dom
    length = max(1, config.editor.iterations // 2)
    short = {"editor.iterations": length, "editor.decay": 0.5, "poisoner.lambda_dom": 0.0}
    own = config.changed(**short)
    run = make_training(own, *load_surrogate(config, out))
    target = load_target(config, out).to(run.device)
    _train(own, run, work / "poisoner_queries", imitate(target))
    queries = run.iteration * config.editor.batch * run.accelerator.num_processes
    facts = (run.iteration, run.seconds)
    export(own, out, "poisoner_queries", run.best, *facts, {"queries": queries})


def _grid_poisoner(method: str, seed: int, config: Config, work: Path, out: Path) -> None:
    train_grid_poisoner(config, method, seed, work, out)


def _train(
    config: Config, run: Training, folder: Path, stage_a: StageA | None = train_editor
) -> Training:
    with run.accelerator.main_process_first():
        faces, validation = open_faces(config, "surrogate"), open_faces(config, "validation")
    return train(run, faces, validation, stage_a, folder=folder)


RECIPES = {
    "judge": _judge,
    "target_Res6": _target,
    "surrogate": _surrogate,
    "poisoner_no_ats": _poisoner_no_ats,
    "poisoner_queries": _poisoner_queries,
    "target_Res6_tuned": partial(_target, tuned=True),
    "target_Res6_DD": _dd_target,
}
# of Table 1: its editors, then its PGs
TABLE1 = {name: editor.train for name, editor in EDITORS.items()}
TABLE1 |= {name: partial(_grid_poisoner, *which) for name, which in GRID_POISONERS.items()}
ALL = RECIPES | TABLE1
