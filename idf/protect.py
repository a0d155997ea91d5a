"""`idf protect`: infects the faces of one's own photos before they are published.

The photo never leaves the machine: nothing here opens a connection.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from idf.checkpoint import write_atomically
from idf.config import RESULTS, UserError
from idf.data import to_model
from idf.losses import infect
from idf.photo import (
    SUFFIXES,
    Photo,
    Place,
    aligned,
    encoded,
    find_faces,
    kind_of,
    open_photo,
    put_back,
)
from idf.shipped import load_poisoner, photo_config

LOG = "protected.jsonl"  # a line for each photo that a batch has finished, in the folder where its copy lies
POISONERS = ("poisoner", "poisoner_queries")
EPS = 0.03
WEAK_SIDE = (
    100  # of a crop, in pixels of the photo: in smaller ones half of the change is lost, or more
)


@dataclass(frozen=True, eq=False)
class Protected:
    """A photo and what became of it."""

    photo: Photo
    pixels: np.ndarray  # uint8 (H, W, 3)
    places: list[Place]

    @property
    def notes(self) -> tuple[str, ...]:
        weak = sum(place.side < WEAK_SIDE for place in self.places)
        sentence = f"{weak} of {counted(len(self.places), 'face')} so small that much of the change is lost."
        return self.photo.notes + (sentence,) * bool(weak)

    @property
    def largest(self) -> int:
        """The largest change of any pixel, in grey levels of 255."""
        return largest_change(self.photo.pixels, self.pixels)

    @property
    def psnr(self) -> float:
        """dB, over the rectangles that hold the faces."""
        return psnr_of_faces(self.photo.pixels, self.pixels, self.places)


def add_arguments(parser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, or folders of photos")
    parser.add_argument(
        "-o",
        "--out",
        default="",
        metavar="OUT",
        help="a .png file, or for several photos a folder (default: beside the photo, as *_protected.png)",
    )
    parser.add_argument(
        "--eps",
        type=float,
        default=EPS,
        help=f"largest change, of a range of 2 (default: {EPS}, that is "
        f"{levels(EPS)} of 255 grey levels)",
    )
    parser.add_argument(
        "--keep-metadata",
        action="store_true",
        help="keep place, time and camera (default: dropped)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="photos at the same time (default: 1)"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write copies anew that are there already; never a photo given",
    )


def main(args) -> int:
    """Returns 0, or 2 if a photo could not be protected; a second call continues where the first was stopped."""
    check_eps(args.eps)
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs} must be at least 1.")
    pairs = plan(args.photos, args.out)
    many = len(pairs) > 1 or os.path.isdir(args.photos[0])
    work = partial(
        _protect_file, eps=args.eps, keep_metadata=args.keep_metadata, force=args.force, log=many
    )
    failed, done = 0, []
    for source, out, row in _each(work, pairs, args.jobs, many):
        if "error" in row:
            failed += 1
            tqdm.write(f"idf: {row['error']}", file=sys.stderr)
            continue
        done.append(row)
        if not many:
            tell(out, row)
        elif row.get("notes"):
            tqdm.write(f"{source}: {' '.join(row['notes'])}", file=sys.stdout)
    new = [row for row in done if not row.get("before")]
    if many:
        summarise(new, len(done) - len(new), failed, sorted({str(out.parent) for _, out in pairs}))
    if new and any(kind_of(out.suffix) == "JPEG" for _, out in pairs):
        print(warning_of_jpeg(args.eps))
    if new:
        print(
            "See that no face is missing, and what it does and does not do: idf check PHOTO PROTECTED"
        )
    return 2 if failed else 0


def summarise(new: list[dict], before: int, failed: int, folders: list[str]) -> None:
    told = [
        f"{counted(len(new), 'photo')} with {counted(sum(row['faces'] for row in new), 'face')} protected"
    ]
    told += [f"{before} protected before"] * bool(before) + [f"{failed} not"] * bool(failed)
    print(
        f"{', '.join(told)}: {folders[0]}{f' and {len(folders) - 1} more folders' * (len(folders) > 1)}"
    )


def tell(out: Path, row: dict) -> None:
    for note in row["notes"]:
        print(note)
    print(
        f"{out}: {counted(row['faces'], 'face')}, changed by at most {row['largest']} of 255 grey levels, PSNR "
        f"{row['psnr']:.1f} dB, {row['seconds']:.1f} s"
    )


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def levels(eps: float) -> int:
    """eps in whole grey levels of 255, rounded to the nearest, as a published picture can hold it."""
    return int(eps * 127.5 + 0.5)


def check_eps(eps: float) -> None:
    if not 0 < eps <= 0.2:
        raise UserError(
            f"eps={eps} is outside (0, .2]: .01 to .05 is usual, from .1 on everybody sees it."
        )
    if not levels(eps):
        raise UserError(
            f"eps={eps} is less than half a grey level, so nothing would change: .01 to .05 is usual."
        )


def protect(
    photo: str | Path | Photo,
    out: str | Path = "",
    eps: float = EPS,
    keep_metadata: bool = False,
) -> Protected:
    """Infect every face that is found in a photo, and write it to `out` (.png, .jpg) if given, over what is there.

    x' = x + eps * delta, |delta| <= 1, on the face as CelebA aligns it, put back into the photo; eps counts in whole grey
    levels. Raises UserError for a file that is no photo, a photo without a face, or an `out` that is the photo itself.
    """
    check_eps(eps)
    photo = photo if isinstance(photo, Photo) else open_photo(photo)
    if out:
        kind_of(Path(out).suffix)
        refuse_overwriting(photo.path, Path(out), force=True)
    places, size = find_faces(photo), photo_config().size
    pixels = photo.pixels
    for place in places:
        x = to_model(aligned(photo.pixels, place, size))[None]
        pixels = put_back(pixels, place, (infect(x, perturbation(x), eps) - x)[0], eps)
    done = Protected(
        photo, pixels if len(places) == 1 else _within(pixels, photo.pixels, eps), places
    )
    if out:
        content = encoded(photo, done.pixels, Path(out).suffix, keep_metadata)
        write_atomically(Path(out), lambda temporary: temporary.write_bytes(content))
    return done


@torch.no_grad()
def perturbation(x: Tensor) -> Tensor:
    """delta for faces x (B, 3, S, S) in [-1, 1]: the sum of what two PGs add, clamped to [-1, 1].

    One was trained against the surrogate, the other with queries to the editor trained apart. Each breaks what the
    other leaves alone.
    """
    return sum(poisoner(x) for poisoner in _poisoners()).clamp(-1, 1)


@lru_cache
def _poisoners() -> list:
    return [load_poisoner(photo_config(), name) for name in POISONERS]


def _within(pixels: np.ndarray, original: np.ndarray, eps: float) -> np.ndarray:
    """Where the crops of two faces overlap, their sum is held within eps too."""
    most = levels(eps)
    low, high = (
        np.where(original > most, original - most, 0),
        np.where(original < 255 - most, original + most, 255),
    )
    return pixels.clip(low, high).astype(np.uint8)


def largest_change(a: np.ndarray, b: np.ndarray) -> int:
    """In grey levels, of two photos uint8 (H, W, 3)."""
    return int((np.maximum(a, b) - np.minimum(a, b)).max())


def rectangle(place: Place, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a photo of this shape that hold the crop."""
    left, top = np.floor(place.corners().min(0)).astype(int).clip(0)
    right, bottom = np.ceil(place.corners().max(0)).astype(int)
    return slice(top, min(bottom, shape[0])), slice(left, min(right, shape[1]))


def psnr_of_faces(original: np.ndarray, pixels: np.ndarray, places: list[Place]) -> float:
    """dB over the upright rectangles around the crops; capped at 99 where nothing changed."""
    windows = [rectangle(place, original.shape) for place in places]
    squares = [np.square(original[w].astype(np.float32) - pixels[w]) for w in windows]
    error = sum(float(square.sum()) for square in squares) / max(
        1, sum(square.size for square in squares)
    )
    return float(min(99.0, 10 * np.log10(255**2 / max(error, 1e-9))))


def plan(given: list[str], out: str) -> list[tuple[Path, Path]]:
    """Each photo and where its protected copy goes. Raises UserError where that is not clear, or would lose a photo."""
    if "" in given:  # to pathlib it is the folder where one stands
        raise UserError(
            "The name of a photo is empty: name a photo or a folder, like . for this one."
        )
    target = Path(out) if out else None
    sources = list(
        dict.fromkeys(found for name in given for found in _photos_in(Path(name), target))
    )
    if target and target.suffix and not target.is_dir() and not out.endswith("/"):
        kind_of(target.suffix)
        if len(sources) > 1 or sources[0][1]:
            raise UserError(
                f"-o {out} is one file, and given are a folder or several photos: name a folder."
            )
        return [(sources[0][0], target)]
    wanted = [_place_of_copy(source, folder, target, source.stem) for source, folder in sources]
    twice = Counter(wanted)  # a.jpg beside a.png
    wanted = [
        _place_of_copy(source, folder, target, source.name) if twice[to] > 1 else to
        for (source, folder), to in zip(sources, wanted, strict=True)
    ]
    originals, taken = {source.resolve(): source for source, _ in sources}, {}
    for (source, _), to in zip(sources, wanted, strict=True):
        if to in taken:
            raise UserError(
                f"{taken[to]} and {source} would both become {to}: protect them into different folders."
            )
        if to.resolve() in originals and to.resolve() != source.resolve():
            raise UserError(
                f"The copy of {source} would replace the photo {to}: name another folder with -o."
            )
        taken[to] = source
    return [(source, to) for to, source in taken.items()]


def _place_of_copy(source: Path, folder: Path | None, target: Path | None, stem: str) -> Path:
    if folder:
        whole = folder.resolve()
        return (target or whole.with_name(f"{whole.name}_protected")) / source.relative_to(
            folder
        ).with_name(f"{stem}.png")
    return target / f"{stem}.png" if target else source.with_name(f"{stem}_protected.png")


def _photos_in(path: Path, target: Path | None) -> list[tuple[Path, Path | None]]:
    """The photos of a folder with that folder; what lies in `target`, where copies go, is left out. Or the photo alone."""
    if not path.is_dir():
        return [(path, None)]
    ours = target.resolve() if target and target.resolve() != path.resolve() else None
    visible = [
        p
        for p in sorted(path.rglob("*"))
        if p.is_file()
        and p.name != LOG
        and not any(part.startswith(".") for part in p.relative_to(path).parts)
        and not (ours and p.resolve().is_relative_to(ours))
    ]
    found = [p for p in visible if p.suffix.lower() in SUFFIXES]
    if not found:
        raise UserError(
            f"{path} holds no photo (JPEG, PNG, WebP, TIFF, BMP, GIF): name another folder."
        )
    if others := [p.name for p in visible if p.suffix.lower() not in SUFFIXES]:
        print(
            f"{path}: left out, as no photos that can be read: {', '.join(others[:5])}{', ...' * (len(others) > 5)} "
            f"({len(others)})."
        )
    return [(p, path) for p in found]


def refuse_overwriting(source: Path | None, out: Path, force: bool) -> None:
    if source and out.exists() and source.exists() and os.path.samefile(source, out):
        raise UserError(
            f"{out} is the photo itself, which is never overwritten: name another output with -o."
        )
    if out.exists() and not force:
        raise UserError(f"{out} is there already: name another output with -o, or add --force.")


def _protect_file(
    source: Path, out: Path, eps: float, keep_metadata: bool, force: bool, log: bool
) -> dict:
    """One photo of a batch; what goes wrong with it becomes a sentence, so that the others go on."""
    start = time.monotonic()
    try:
        if log and not force and (row := finished(source, out, eps, keep_metadata)):
            return row | {"before": True}
        refuse_overwriting(source, out, force)
        done = protect(source, "", eps)
        content = encoded(done.photo, done.pixels, out.suffix, keep_metadata)
        row = {
            "faces": len(done.places),
            "psnr": round(done.psnr, 2),
            "largest": done.largest,
            "notes": list(done.notes),
            "seconds": round(time.monotonic() - start, 2),
        }
        if kind_of(out.suffix) == "JPEG":
            written = open_photo(content).pixels
            row |= {
                "psnr": psnr_of_faces(done.photo.pixels, written, done.places),
                "largest": largest_change(done.photo.pixels, written),
            }
            row["notes"] += ["Its transparency is lost: JPEG has none."] * (
                done.photo.alpha is not None
            )
        if log:
            note_down(source, out, eps, keep_metadata, content, row)
        write_atomically(out, lambda temporary: temporary.write_bytes(content))
        return row
    except UserError as error:
        return {"error": str(error)}
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "there is too little memory"
        return {
            "error": f"{source} was not protected ({reason}, {out}): mend that and run the same command again."
        }


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def note_down(
    source: Path, out: Path, eps: float, keep_metadata: bool, content: bytes, row: dict
) -> None:
    """A line in the log before the copy is moved into place: so a copy that is there and complete is in the log, too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    line = {
        "copy": out.name,
        "copy_sha256": _fingerprint(content),
        "photo_sha256": _fingerprint(source.read_bytes()),
        "eps": eps,
        "metadata": keep_metadata,
        **row,
    }
    with (out.parent / LOG).open("a") as file:
        file.write(json.dumps(line) + "\n")


def finished(source: Path, out: Path, eps: float, keep_metadata: bool) -> dict | None:
    """The log's line for this copy, if it is there and was made from this photo with these settings."""
    log = out.parent / LOG
    if not (log.is_file() and out.is_file() and source.is_file()):
        return None
    wanted = {
        "copy": out.name,
        "copy_sha256": _fingerprint(out.read_bytes()),
        "photo_sha256": _fingerprint(source.read_bytes()),
        "eps": eps,
        "metadata": keep_metadata,
    }
    for text in log.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # cut off by a kill
            continue
        if isinstance(line, dict) and line.items() >= wanted.items():
            return {**line, "notes": []}
    return None


def _each(
    work: Callable[[Path, Path], dict],
    pairs: list[tuple[Path, Path]],
    jobs: int,
    many: bool,
) -> Iterator[tuple[Path, Path, dict]]:
    """Each pair with its row, as it becomes ready."""
    bar = partial(
        tqdm, total=len(pairs), unit="photo", file=sys.stdout, disable=not many or None, leave=False
    )
    if jobs == 1 or len(pairs) < 2:
        yield from ((*pair, work(*pair)) for pair in bar(pairs))
        return
    # spawned, since torch's threads do not survive a fork
    with ProcessPoolExecutor(
        min(jobs, len(pairs)), multiprocessing.get_context("spawn"), _start_worker, (os.getpid(),)
    ) as pool:
        waiting = {pool.submit(work, *pair): pair for pair in pairs}
        try:
            for future in bar(as_completed(waiting)):
                yield *waiting[future], future.result()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker(parent: int) -> None:
    """One thread for torch; and an end of the process when its parent is killed."""
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def warning_of_jpeg(eps: float) -> str:
    file = RESULTS / "protect.json"
    if not file.is_file():
        return "JPEG weakens the protection: publish a PNG where you can."
    found = json.loads(file.read_text())
    row = min(found["rows"], key=lambda row: abs(row["eps"] - eps))
    return (
        f"JPEG weakens the protection: at eps {row['eps']:g} it moved {row['dsr']:.0%} of the forgeries of "
        f"{row['photos']} portraits as PNG, {row['dsr_jpeg_95']:.0%} as the JPEG that is written here, and "
        f"{row['dsr_jpeg_75']:.0%} as JPEG of quality 75, which is what most sites make of a photo: publish a PNG where "
        "you can."
    )
