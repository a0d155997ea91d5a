"""`idf bench`: speed and memory as ratios within one run, written to data/results/speed.json."""

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.func import functional_call

from idf import baselines, losses, reenactment
from idf.checkpoint import save_json
from idf.config import HAIR, RESULTS, Config, UserError, find_data, load_config, load_video_config
from idf.data import CROP, Faces, find_pictures, open_faces, to_model, to_picture
from idf.editing import (
    Training,
    make_training,
    run_iteration,
    step,
    update_d_a,
    update_d_b,
    update_surrogate,
)
from idf.networks import PoisonGenerator, Res, frozen
from idf.talking import talking_face
from idf.weights import command, hardware


def add_arguments(parser) -> None:
    parser.add_argument(
        "--data",
        default="",
        metavar="FOLDER",
        help="CelebA for the loader (default: faces written as JPEG)",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each pair is timed, in turn (default: 5)"
    )


def main(args) -> int:
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds} must be at least 1.")
    rows = [
        alternating_step(args.rounds),
        protect(args.rounds),
        loader(find_data(args.data), args.rounds),
    ]
    save_json(RESULTS / "speed.json", rows)
    memory = [second_order_memory(target) for target in ("UNet256", "Res6")]
    save_json(RESULTS / "memory.json", memory)
    print(json.dumps(rows + memory, indent=1))
    return 0


def compare(
    what: str, ours: Callable[[], float], reference: Callable[[], float], rounds: int
) -> dict:
    """Time two functions in turn, which return how much they did; the row holds medians of seconds per unit."""

    def once(function: Callable[[], float]) -> float:
        start = time.perf_counter()
        units = function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / units

    once(ours), once(reference)  # warm-up: lazily built kernels and caches
    pairs = [(once(ours), once(reference)) for _ in range(rounds)]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(y / x for x, y in pairs)
    return {
        "what": what,
        "ratio": round(ratio, 2),
        "ours_s": a,
        "reference_s": b,
        "hardware": hardware(),
        "command": command(),
    }


def straightforward_poison_loss(
    training: Training, x: Tensor, c: Tensor, previous: tuple
) -> Tensor:
    """L_PG as the equations are written: one domain at a time, L' always computed anew."""
    config = training.config
    targets = losses.target_labels(c, config.domains, HAIR)
    x_infected = losses.infect(x, training.poisoner(x), config.eps)

    def influence(surrogate, d_a) -> Tensor:
        with torch.no_grad():
            change = torch.stack([(x - surrogate(x, c_j)).abs().mean() for c_j in targets])
        total = x.new_zeros(())
        for mu, c_j in zip(change / change.sum(), targets, strict=True):
            with torch.no_grad():
                y = surrogate(x, c_j)
            y_infected = surrogate(x_infected, c_j)
            x_cycled = surrogate(y_infected, c)
            scores, logits = d_a(y_infected)
            bs, cyc = (y - y_infected).abs().mean(), (x_infected - x_cycled).abs().mean()
            dom = (scores.mean() + losses.classification(logits, 1 - c_j)) / len(targets)
            total = (
                total
                - config.lambda_bs * mu * bs
                - config.lambda_cyc * mu * cyc
                + config.lambda_dom * dom
            )
        return total

    adversarial = -training.d_b(x_infected).mean()
    return (
        influence(training.surrogate, training.d_a)
        + influence(*previous)
        + config.lambda_adv * adversarial
    )


def straightforward_iteration(training: Training, faces: Faces) -> None:
    """One iteration of Algorithm 1 without any of our savings, on the same updates of D_A, SM and D_B."""
    config, i = training.config, training.iteration
    x, c = faces.batch(i, config.batch, config.seed)
    c_trg, alpha = c[torch.randperm(len(c))], torch.rand(len(x), 1, 1, 1)
    previous = copy.deepcopy(training.surrogate), copy.deepcopy(training.d_a)
    update_d_a(training, x, c, c_trg, alpha)
    if (i + 1) % config.n_critic == 0:
        update_surrogate(training, x, c, c_trg)
    update_d_b(training, x, alpha)
    step(training, "poisoner", straightforward_poison_loss(training, x, c, previous))


def alternating_step(rounds: int) -> dict:
    """Algorithm 1 with five domains, batch 8, 64 px, width 16, stage B in every iteration, n_critic 5."""
    config = load_config(
        "demo", size=64, width=16, batch=8, batch_pg=8, poison_every=1, n_critic=5, faces=120
    )
    faces = open_faces(config, "surrogate")

    def ready(config: Config, iterate: Callable[[Training, tuple], object]) -> Callable[[], float]:
        training = make_training(config)
        previous = copy.deepcopy(training.surrogate), copy.deepcopy(training.d_a)

        def run() -> float:
            for _ in range(config.n_critic):
                iterate(training, previous)
                training.iteration += 1
            return config.n_critic

        return run

    # ours comes last: Accelerate keeps one state for all trainings, and autocast looks up there that it means bf16
    slow = ready(
        replace(config, bf16=False), lambda training, _: straightforward_iteration(training, faces)
    )
    fast = ready(config, lambda training, previous: run_iteration(training, faces, "AB", previous))
    return compare("alternating-step", fast, slow, rounds)


def protect(rounds: int) -> dict:
    """One image at full width, 128 px: PG's one pass (channels last, which suits it) against PGD-10 over five domains."""
    config = load_config("paper")
    torch.manual_seed(0)
    x = torch.rand(1, 3, config.size, config.size) * 2 - 1
    targets = losses.target_labels(torch.zeros(1, 5), config.domains, HAIR)
    poisoner = frozen(PoisonGenerator(config.width_pg, config.levels_pg)).to(
        memory_format=torch.channels_last
    )
    surrogate = frozen(Res(5, config.width))

    def ours() -> float:
        with torch.inference_mode():
            for _ in range(10):
                losses.infect(x, poisoner(x), config.eps)
        return 10

    def reference() -> float:
        baselines.pgd(surrogate, x, targets, config.eps)
        return 1

    return compare("protect", ours, reference, rounds)


def loader(data_root: str, rounds: int) -> dict:
    """Samples at 64 px: a mini-batch from the cache against opening, cropping and resizing each JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config("demo", data_root=data_root, faces=1200)
        faces = open_faces(config, "surrogate", limit=400)
        if data_root:
            pictures, names = find_pictures(Path(data_root))
            files = [pictures / name for name in names[:400]]
        else:
            files = _write_jpegs(Path(folder))

        def ours() -> float:
            for i in range(100):
                faces.batch(i, 16, seed=0)
            return 1600

        def reference() -> float:
            for file in files:
                image = Image.open(file).convert("RGB")
                left, top = (image.width - CROP) // 2, (image.height - CROP) // 2
                image = image.crop((left, top, left + CROP, top + CROP)).resize(
                    (64, 64), Image.Resampling.BICUBIC
                )
                to_model(
                    torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
                    .view(64, 64, 3)
                    .permute(2, 0, 1)
                )
            return len(files)

        return compare("loader", ours, reference, rounds)


def second_order_memory(target: str) -> dict:
    """MiB that autograd keeps for PG's step of scenario 2: through TM (Eq. 11), against through M' alone."""
    config = load_video_config("demo", target=target)
    run = reenactment.make_poisoning(config)
    frames = talking_face(config.person, range(2 * config.batch_pg), config.size)
    device = run.accelerator.device
    x, x_other = to_model(frames.images).to(device).chunk(2)
    z, z_other = reenactment.draw_landmarks(frames.landmarks, config.size).to(device).chunk(2)

    def first_order() -> Tensor:
        x_infected = losses.infect(x, run.poisoner(x), config.eps)
        return reenactment.training_loss(run.infected(z), x_infected, config)

    def second_order() -> Tensor:
        x_infected = losses.infect(x, run.poisoner(x), config.eps)
        temporary = reenactment.temporary_model(run.infected, z, x_infected, config)
        return losses.reenactment_influence(
            x_other, functional_call(run.infected, temporary, (z_other,)), x_other
        )

    ours, reference = kept_by_autograd(second_order), kept_by_autograd(first_order)
    return {
        "what": f"second-order-step, {target}",
        "ratio": round(ours / reference, 2),
        "ours_mib": round(ours, 1),
        "reference_mib": round(reference, 1),
        "hardware": hardware(),
        "command": command(),
    }


def kept_by_autograd(function: Callable[[], Tensor]) -> float:
    """MiB of all tensors that the graph of function() holds for backward: a count, not a timing."""
    sizes, held = {}, []

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)  # a freed storage's address could come again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    del result
    return sum(sizes.values()) / 2**20


def _write_jpegs(folder: Path) -> list[Path]:
    """Faces in CelebA's picture size."""
    faces = open_faces(load_config("demo", size=256, faces=240), "test", limit=20)
    files = []
    for i in range(20):
        picture = Image.fromarray(to_picture(faces[i][0])).resize((178, 218))
        files.append(folder / f"{i:06d}.jpg")
        picture.save(files[-1], quality=95)
    return files * 20
