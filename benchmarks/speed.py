"""Speed and memory as ratios within one run, written to data/results: `make bench`.

speed.json: how many times faster than a straightforward reference; memory.json: what autograd keeps
for scenario 2's step through TM, against a step without it.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from idf import attacks, losses, reenactment
from idf.commands.options import find_data
from idf.config import HAIR, RESULTS, load_config, load_film_config
from idf.data.celeba import CROP, find_pictures
from idf.data.drawn.film import talking_face
from idf.data.faces import Faces, open_faces
from idf.data.files import save_json
from idf.data.landmarks import draw_landmarks
from idf.data.pictures import to_model, to_picture
from idf.editing import Training, make_training, train, update_d_a, update_d_b, update_editor
from idf.networks import frozen, make_generator, make_poisoner
from idf.zoo.manifest import command, hardware


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="CelebA for the loader; else drawn faces")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is timed")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds} must be at least 1")

    data_root = find_data(options.data)
    speed = [
        alternating_step(options.rounds),
        protect(options.rounds),
        loader(data_root, options.rounds),
    ]
    save_json(RESULTS / "speed.json", speed)
    memory = [second_order_memory(network) for network in ("UNet256", "Res6")]
    save_json(RESULTS / "memory.json", memory)
    print(json.dumps(speed + memory, indent=1))


def compare(
    what: str, ours: Callable[[], float], reference: Callable[[], float], rounds: int
) -> dict:
    """Time two functions in turn, which return how much they did.

    The row holds medians of seconds per unit.
    """

    def seconds_per_unit(function: Callable[[], float]) -> float:
        start = time.perf_counter()
        units = function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / units

    # warm-up: lazily built kernels and caches
    seconds_per_unit(ours)
    seconds_per_unit(reference)
    pairs = [(seconds_per_unit(ours), seconds_per_unit(reference)) for _ in range(rounds)]
    ratio = statistics.median(b / a for a, b in pairs)
    return {
        "what": what,
        "ratio": round(ratio, 2),
        "ours_s": statistics.median(a for a, _ in pairs),
        "reference_s": statistics.median(b for _, b in pairs),
        **origin(),
    }


def origin() -> dict[str, str]:
    """Where and by which command a row was measured."""
    given = command().removeprefix("idf").strip()
    return {"hardware": hardware(), "command": f"python benchmarks/speed.py {given}".strip()}


# Algorithm 1


def alternating_step(rounds: int) -> dict:
    """An iteration with five domains, batch 8, 64 px, width 16, stage B in every iteration."""
    config = load_config(
        "demo",
        size=64,
        faces=120,
        editor={"width": 16, "batch": 8, "n_critic": 5},
        poisoner={"width": 16, "batch": 8, "every": 1, "validate_every": 10**9},
    )
    faces = open_faces(config, "surrogate")
    count = config.editor.n_critic  # so many, so that each measurement has one step of SM

    slow = make_training(config.changed(bf16=False))

    def reference() -> float:
        for _ in range(count):
            straightforward_iteration(slow, faces)
            slow.iteration += 1
        return count

    # ours is made last: Accelerate keeps one state for all trainings, and autocast looks up there
    # that it means bf16
    fast = make_training(config)

    def ours() -> float:
        train(fast, faces, faces, until=fast.iteration + count, quiet=True)
        return count

    return compare("alternating-step", ours, reference, rounds)


def straightforward_iteration(run: Training, faces: Faces) -> None:
    """One iteration of Algorithm 1 without any of our savings.

    The updates of D_A, SM and D_B are the same.
    """
    editor = run.config.editor
    x, c = faces.batch(run.iteration, editor.batch, run.seed)
    c_trg, alpha = c[torch.randperm(len(c))], torch.rand(len(x), 1, 1, 1)
    run.generator = torch.Generator().manual_seed(run.iteration)
    before = copy.deepcopy(run.surrogate), copy.deepcopy(run.d_a)
    update_d_a(run, x, c, c_trg, alpha)
    if (run.iteration + 1) % editor.n_critic == 0:
        update_editor(run, x, c, c_trg)
    update_d_b(run, x, alpha)
    run.step(run.poisoner, straightforward_poisoner_loss(run, x, c, before))


def straightforward_poisoner_loss(
    run: Training, x: Tensor, c: Tensor, before: tuple[nn.Module, nn.Module]
) -> Tensor:
    """L_PG as the equations are written: one domain at a time, L' always computed anew."""
    pg = run.config.poisoner
    targets = losses.target_labels(c, run.config.domains, HAIR)
    x_infected = losses.infect(x, run.poisoner(x), pg.eps)

    def influence(surrogate: nn.Module, d_a: nn.Module) -> Tensor:
        with torch.no_grad():
            change = torch.stack([(x - surrogate(x, c_j)).abs().mean() for c_j in targets])
        total = x.new_zeros(())
        for mu, c_j in zip(change / change.sum(), targets, strict=True):
            with torch.no_grad():
                y = surrogate(x, c_j)
            y_infected = surrogate(x_infected, c_j)
            x_cycled = surrogate(y_infected, c)
            scores, logits = d_a(y_infected)
            loss_bs = (y - y_infected).abs().mean()
            loss_cyc = (x_infected - x_cycled).abs().mean()
            loss_dom = scores.mean() + losses.classification(logits, 1 - c_j)
            total = total - pg.lambda_bs * mu * loss_bs - pg.lambda_cyc * mu * loss_cyc
            total = total + pg.lambda_dom * loss_dom / len(targets)
        return total

    loss_adv = -run.d_b(x_infected).mean()
    return influence(run.surrogate, run.d_a) + influence(*before) + pg.lambda_adv * loss_adv


# Protecting one picture


def protect(rounds: int) -> dict:
    """One image at full width, 128 px: PG's one pass against PGD-10 over five domains."""
    config = load_config("paper")
    eps = config.poisoner.eps
    torch.manual_seed(0)
    x = torch.rand(1, 3, config.size, config.size) * 2 - 1
    targets = losses.target_labels(torch.zeros(1, 5), config.domains, HAIR)
    poisoner = frozen(make_poisoner(config.poisoner))
    poisoner = poisoner.to(memory_format=torch.channels_last)  # which suits it
    surrogate = frozen(make_generator("Res6", 5, config.editor.width, config.size))

    def ours() -> float:
        with torch.inference_mode():
            for _ in range(10):
                losses.infect(x, poisoner(x), eps)
        return 10

    def reference() -> float:
        attacks.pgd(surrogate, x, targets, eps)
        return 1

    return compare("protect", ours, reference, rounds)


# Loading pictures


def loader(data_root: str, rounds: int) -> dict:
    """Pictures at 64 px: mini-batches from the cache against reading and scaling each JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config("demo", data_root=data_root, faces=1200)
        faces = open_faces(config, "surrogate", limit=400)
        if data_root:
            pictures, names = find_pictures(Path(data_root))
            files = [pictures / name for name in names[:400]]
        else:
            files = write_jpegs(Path(folder))

        def ours() -> float:
            for i in range(100):
                faces.batch(i, 16, seed=0)
            return 1600

        def reference() -> float:
            for file in files:
                read_cropped(file)
            return len(files)

        return compare("loader", ours, reference, rounds)


def read_cropped(file: Path) -> Tensor:
    """x (3, 64, 64) of a picture in CelebA's size."""
    image = Image.open(file).convert("RGB")
    left, top = (image.width - CROP) // 2, (image.height - CROP) // 2
    image = image.crop((left, top, left + CROP, top + CROP))
    image = image.resize((64, 64), Image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return to_model(pixels.view(64, 64, 3).permute(2, 0, 1))


def write_jpegs(folder: Path) -> list[Path]:
    """Twenty drawn faces in CelebA's picture size, each twenty times."""
    faces = open_faces(load_config("demo", size=256, faces=240), "test", limit=20)
    files = []
    for i in range(20):
        picture = Image.fromarray(to_picture(faces[i][0])).resize((178, 218))
        files.append(folder / f"{i:06d}.jpg")
        picture.save(files[-1], quality=95)
    return files * 20


# Memory


def second_order_memory(network: str) -> dict:
    """MiB that autograd keeps for PG's step through TM (Eq. 11), against one through M' alone."""
    config = load_film_config("demo", forger={"network": network})
    run = reenactment.make_poison_training(config)
    frames = talking_face(config.person, range(2 * config.poisoner.batch), config.size)
    x, x_other = to_model(frames.images).to(run.device).chunk(2)
    maps = draw_landmarks(frames.landmarks, config.size).to(run.device)
    z, z_other = maps.chunk(2)

    def first_order() -> Tensor:
        x_infected = losses.infect(x, run.poisoner(x), config.poisoner.eps)
        return reenactment.training_loss(run.infected(z), x_infected, config)

    def second_order() -> Tensor:
        x_infected = losses.infect(x, run.poisoner(x), config.poisoner.eps)
        temporary = reenactment.temporary_model(run.infected, z, x_infected, config)
        y = functional_call(run.infected, temporary, (z_other,))
        return losses.reenactment_influence(x_other, y, x_other)

    ours, reference = kept_by_autograd(second_order), kept_by_autograd(first_order)
    return {
        "what": f"second-order-step, {network}",
        "ratio": round(ours / reference, 2),
        "ours_mib": round(ours, 1),
        "reference_mib": round(reference, 1),
        **origin(),
    }


def kept_by_autograd(function: Callable[[], Tensor]) -> float:
    """MiB of all tensors that the graph of function() holds for backward: a count, no timing."""
    sizes: dict[int, int] = {}
    held = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # a freed storage's address could come again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    del result
    return sum(sizes.values()) / 2**20


if __name__ == "__main__":
    main()
