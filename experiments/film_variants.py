"""Two changes to how PG of scenario 2 is trained: M' restarts, or PG waits.

In Eq. 11 M' grows up together with PG, while the forger it stands for starts from scratch on the
finished film. So M' may begin anew every n iterations; or SM and M' train for n before PG does.

    python experiments/film_variants.py --restart-every 250 [--video FILE] [--seed 0]
    python experiments/film_variants.py --delay 500 [--video FILE] [--seed 0]
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from film_rows import (
    EXPERIMENTS,
    Out,
    Preset,
    Seed,
    Trained,
    Video,
    Work,
    add_rows,
    measure,
    open_experiment,
    start,
)
from torch import Tensor

from idf.config import FilmConfig, UserError
from idf.data.cache import digest
from idf.data.film import Frames
from idf.data.landmarks import draw_landmarks, face_finder_or_none
from idf.forger import (
    draw_batch,
    landmark_maps,
    make_discriminator,
    make_reenactor,
    update_reenactor,
)
from idf.reenactment import (
    PoisonTraining,
    influence_of,
    make_poison_training,
    update_d_b,
    update_infected,
    update_poisoner,
)
from idf.zoo.films import masks_of, train_forger

RestartEvery = Annotated[
    int, typer.Option(metavar="NUMBER", min=0, help="M' starts anew after so many iterations.")
]
Delay = Annotated[
    int, typer.Option(metavar="NUMBER", min=0, help="SM and M' train for so many before PG does.")
]


def main(
    restart_every: RestartEvery = 0,
    delay: Delay = 0,
    preset: Preset = "demo",
    video: Video = "",
    seed: Seed = 0,
    work: Work = "",
    out: Out = EXPERIMENTS,
) -> None:
    """Trains PG in one of these ways and forgers on its film; adds their rows to `out`."""
    given = {"restart_every": restart_every, "delay": delay}
    variant = {name: value for name, value in given.items() if value}
    if not variant:
        raise UserError("Nothing is changed: say --restart-every NUMBER or --delay NUMBER.")
    config, film, checkpoints = open_experiment(preset, video, seed, work)
    last = config.poisoner.iterations - 1
    if delay > last:
        raise UserError(f"--delay {delay} leaves PG no iteration: use at most {last}.")
    trained = train_forgers(config, film, variant, checkpoints)
    rows = measure(config, film, film.part("test"), trained, variant, face_finder_or_none())
    add_rows(rows, out)


def train_forgers(
    config: FilmConfig, film: Frames, variant: dict[str, int], work: Path
) -> Iterator[Trained]:
    """M, its floor, a control, and the forger on the film of this PG."""
    network = config.forger.network
    for method in ("clean", "reseed", "brightened"):
        print(f"{config.dataset}, seed {config.seed}, {method}", flush=True)
        yield method, *train_forger(method, config, film, network, work)

    print(f"{config.dataset}, seed {config.seed}, ours with {variant}", flush=True)
    train, validation = film.part("train"), film.part("validation")
    masks = masks_of(config, train) if config.poisoner.masked else None
    # PG of another variant has a folder of its own, and so has its forger
    own = work / f"variant-{digest((config, variant))}"
    run = train_poisoner(config, train, validation, masks, **variant, folder=own / "poisoner")
    yield "ours", *train_forger("ours", config, film, network, own, run.best)


def train_poisoner(
    config: FilmConfig,
    frames: Frames,
    validation: Frames,
    masks: Tensor | None = None,
    restart_every: int = 0,
    delay: int = 0,
    **options,
) -> PoisonTraining:
    """As idf.reenactment.train_poisoner, with alternation; without a change, bit for bit.

    restart_every: iterations after which M' starts anew, 0: never. delay: iterations before PG's
    first. options: of Run.loop.
    """
    run = make_poison_training(config)
    run.identity |= {"restart_every": restart_every, "delay": delay}
    pg = config.poisoner
    maps = landmark_maps(frames)
    z_val = draw_landmarks(validation.landmarks[:16], validation.size).to(run.device)
    x_val = validation.x(slice(16)).to(run.device)

    for iteration in run.loop(pg.iterations, config.forger.decay, **options):
        # frames for the forgers to learn, and others to judge TM by
        n = pg.batch
        z, x, index = draw_batch(run, frames, maps, config.forger.batch + n)
        (z, z_other), (x, x_other) = z.split([len(z) - n, n]), x.split([len(x) - n, n])
        mask = 1.0
        if masks is not None:
            mask = masks[index[-n:]].to(run.device)

        # Stage A: SM learns from clean frames
        run.record(update_reenactor(run, run.surrogate, run.d, z, x, "surrogate"))

        # the first change: M' restarts
        if restart_every and iteration and iteration % restart_every == 0:
            restart(run)

        # Stage B: PG learns through a step of M'; the second change: not before `delay`
        if iteration >= delay:
            alpha = torch.rand(n, 1, 1, 1, device=run.device)
            run.record(update_d_b(run, x[:n], alpha))
            run.record(update_poisoner(run, z[:n], x[:n], z_other, x_other, mask))
        for _ in range(pg.follow):
            run.record(update_infected(run, z, x))

        # keep PG_best
        if iteration >= delay and run.is_due(pg.validate_every):
            run.keep_best(run.poisoner, lambda p: influence_of(run, p, z_val, x_val))
    return run


def restart(run: PoisonTraining) -> None:
    """M' and its discriminator begin anew, as the next forger's will."""
    torch.manual_seed(run.seed * 7919 + run.iteration)
    infected, d_infected = make_reenactor(run.config), make_discriminator(run.config)
    run.infected.load_state_dict(infected.state_dict())
    run.d_infected.load_state_dict(d_infected.state_dict())
    for network in (run.infected, run.d_infected):
        run.optimizers[network].state.clear()


if __name__ == "__main__":
    start(main)
