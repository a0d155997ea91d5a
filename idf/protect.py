"""`idf protect`: infects the faces of one's own photos before they are published.

The photo never leaves the machine: nothing here opens a connection.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from idf.checkpoint import save_json
from idf.config import RESULTS, UserError
from idf.data import to_model
from idf.losses import infect
from idf.photo import LEAST_SIDE, SUFFIXES, Photo, Place, aligned, find_faces, open_photo, put_back, write_photo
from idf.shipped import load_poisoner, photo_config

LOG = "protected.json"  # in the folder that a batch writes
POISONERS = ("poisoner", "poisoner_queries")
EPS = 0.03


@dataclass(frozen=True, eq=False)
class Protected:
    """A photo and what became of it."""

    photo: Photo
    pixels: np.ndarray  # uint8 (H, W, 3)
    places: list[Place]
    psnr: float  # dB, over the rectangles that hold the faces

    @property
    def notes(self) -> tuple[str, ...]:
        small = sum(place.side < LEAST_SIDE for place in self.places)
        sentence = f"{small} of {len(self.places)} faces have too few pixels to hold the change well."
        return self.photo.notes + (sentence,) * bool(small)

    @property
    def largest(self) -> int:
        """The largest change of any pixel, in grey levels of 255."""
        return int(np.abs(self.pixels.astype(np.int16) - self.photo.pixels).max())


def add_arguments(parser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, or folders of photos")
    parser.add_argument("-o", "--out", default="", metavar="OUT",
                        help="a .png file, or for several photos a folder (default: beside the photo, as *_protected.png)")
    parser.add_argument("--eps", type=float, default=EPS, help=f"largest change, of a range of 2 (default: {EPS}, that is "
                        f"{EPS * 127.5:.1f} of 255 grey levels)")
    parser.add_argument("--keep-metadata", action="store_true", help="keep place, time and camera (default: dropped)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="photos at the same time (default: 1)")
    parser.add_argument("--force", action="store_true", help="overwrite photos that are there already; never the input")


def main(args) -> int:
    """Returns 0, or 2 if a photo could not be protected; a second call continues where the first was stopped."""
    check_eps(args.eps)
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs} must be at least 1.")
    pairs = list(plan(args.photos, args.out))
    many = len(pairs) > 1 or Path(args.photos[0]).is_dir()
    work = partial(_protect_file, eps=args.eps, keep_metadata=args.keep_metadata)
    logs = Logs(args) if many else None
    waiting = [(source, out) for source, out in pairs if not (logs and logs.has(source, out))]
    if len(waiting) < len(pairs):
        print(f"{len(pairs) - len(waiting)} photos were protected before: they are left as they are.")
    failed, done = 0, []
    for source, out, row in _each(work, waiting, args.jobs, args.force, many):
        if "error" in row:
            failed += 1
            tqdm.write(f"idf: {row['error']}", file=sys.stderr)
        else:
            done.append(row)
            if logs:
                logs.add(source, out, row)
            else:
                tell(out, row)
        if logs and row.get("notes"):
            tqdm.write(f"{source.name}: {' '.join(row['notes'])}", file=sys.stdout)
    if many:
        faces, seconds = sum(row["faces"] for row in done), sum(row["seconds"] for row in done)
        print(f"{len(done)} photos with {faces} faces protected" + f" in {seconds:.0f} s" * bool(done)
              + f", {failed} not" * bool(failed) + f": {logs.folders()}")
    if any(out.suffix.lower() in (".jpg", ".jpeg") for _, out in pairs):
        print(warning_of_jpeg())
    if done:
        print("See what it does and does not do: idf check PHOTO PROTECTED")
    return 2 if failed else 0


def tell(out: Path, row: dict) -> None:
    for note in row["notes"]:
        print(note)
    print(f"{out}: {row['faces']} face{'s' * (row['faces'] > 1)}, changed by at most {row['largest']} of 255 grey levels, "
          f"PSNR {row['psnr']:.1f} dB, {row['seconds']:.1f} s")


def check_eps(eps: float) -> None:
    if not 0 < eps <= 0.2:
        raise UserError(f"eps={eps} is outside (0, .2]: .01 to .05 is usual, from .1 on everybody sees it.")


def protect(photo: str | Path | Photo, out: str | Path = "", eps: float = EPS, keep_metadata: bool = False) -> Protected:
    """Infect every face of a photo, and write it to `out` (.png) if given.

    x' = x + eps * delta, |delta| <= 1, on the face as CelebA aligns it, put back into the photo. Raises UserError for a
    file that is no photo, a photo without a face, or an `out` that is the photo itself.
    """
    check_eps(eps)
    if out and not isinstance(photo, Photo):
        refuse_overwriting(Path(photo), Path(out), force=True)
    photo = photo if isinstance(photo, Photo) else open_photo(photo)
    places = find_faces(photo)
    pixels = photo.pixels
    for place in places:
        x = to_model(aligned(photo.pixels, place, photo_config().size))[None]
        pixels = _within(put_back(pixels, place, (infect(x, perturbation(x), eps) - x)[0], eps), photo.pixels, eps)
    if out:
        write_photo(out, photo, pixels, keep_metadata)
    return Protected(photo, pixels, places, psnr_of_faces(photo.pixels, pixels, places))


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
    most = int(eps * 127.5 + 0.5)
    low, high = (original.astype(np.int16) + sign * most for sign in (-1, 1))
    return pixels.astype(np.int16).clip(low, high).astype(np.uint8)


def psnr_of_faces(original: np.ndarray, pixels: np.ndarray, places: list[Place]) -> float:
    """dB over the upright rectangles around the crops; capped at 99 where nothing changed."""
    inside = np.zeros(original.shape[:2], bool)
    for place in places:
        left, top = np.floor(place.corners().min(0)).astype(int).clip(0)
        right, bottom = np.ceil(place.corners().max(0)).astype(int)
        inside[top:bottom, left:right] = True
    error = np.square(original[inside].astype(np.float32) - pixels[inside]).mean()
    return float(min(99.0, 10 * np.log10(255**2 / max(error, 1e-9))))


def plan(photos: list[str], out: str) -> Iterator[tuple[Path, Path]]:
    """Each photo and where its protected copy goes. Raises UserError where that is not clear."""
    sources = [(photo, folder) for name in photos for photo, folder in _photos_in(Path(name).expanduser())]
    target = Path(out).expanduser() if out else None
    as_file = target and target.suffix and not target.is_dir()
    if as_file and (len(sources) > 1 or sources[0][1]):
        raise UserError(f"-o {out} is one file, and these are {len(sources)} photos: name a folder.")
    taken: dict[Path, Path] = {}
    for source, folder in sources:
        if as_file:
            to = target
        elif folder:
            place = (target or folder.with_name(f"{folder.name}_protected")) / source.relative_to(folder)
            to = place.with_suffix(".png")
        else:
            to = target / f"{source.stem}.png" if target else source.with_name(f"{source.stem}_protected.png")
        if to in taken:  # a.jpg beside a.png
            to = to.with_name(f"{source.name}.png")
        taken[to] = source
        yield source, to


def _photos_in(path: Path) -> list[tuple[Path, Path | None]]:
    if not path.is_dir():
        return [(path, None)]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES
                   and not any(part.startswith(".") for part in p.relative_to(path).parts))
    if not found:
        raise UserError(f"{path} holds no photo (JPEG, PNG, WebP, TIFF, BMP, GIF): name another folder.")
    return [(p, path) for p in found]


def refuse_overwriting(source: Path, out: Path, force: bool) -> None:
    if out.exists() and source.exists() and os.path.samefile(source, out):
        raise UserError(f"{out} is the photo itself, which is never overwritten: name another output with -o.")
    if out.exists() and not force:
        raise UserError(f"{out} is there already: name another output with -o, or add --force.")


def _protect_file(job: tuple[Path, Path, bool], eps: float, keep_metadata: bool) -> dict:
    """One photo of a batch; what goes wrong with it becomes a sentence, so that the others go on."""
    source, out, force = job
    start = time.monotonic()
    try:
        refuse_overwriting(source, out, force)
        done = protect(source, out, eps, keep_metadata)
    except UserError as error:
        return {"error": str(error)}
    return {"faces": len(done.places), "psnr": round(done.psnr, 2), "largest": done.largest, "notes": list(done.notes),
            "seconds": round(time.monotonic() - start, 2)}


def _each(work, pairs: list, jobs: int, force: bool, many: bool) -> Iterator[tuple[Path, Path, dict]]:
    """Each pair with its row, in order, as it becomes ready."""
    bar = partial(tqdm, total=len(pairs), unit="photo", file=sys.stdout, disable=not many or None, leave=False)
    tasks = [(source, out, force) for source, out in pairs]
    if jobs == 1 or len(pairs) < 2:
        rows = map(work, tasks)
        yield from ((source, out, row) for (source, out), row in zip(pairs, bar(rows), strict=True))
        return
    # spawned, since torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        try:
            yield from ((source, out, row) for (source, out), row in zip(pairs, bar(pool.map(work, tasks)), strict=True))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


class Logs:
    """What a batch has finished: protected.json in each folder that it writes, so that a killed one continues."""

    def __init__(self, args):
        self.settings = {"eps": args.eps, "metadata": args.keep_metadata}
        self.rows: dict[Path, dict] = {}

    def _of(self, folder: Path) -> dict:
        if folder not in self.rows:
            try:
                self.rows[folder] = json.loads((folder / LOG).read_text())
            except (OSError, ValueError):
                self.rows[folder] = {}
        return self.rows[folder]

    def _entry(self, source: Path) -> dict:
        return {"sha256": hashlib.sha256(source.read_bytes()).hexdigest(), **self.settings}

    def has(self, source: Path, out: Path) -> bool:
        row = self._of(out.parent).get(out.name)
        return bool(row and out.is_file() and source.is_file() and row.items() >= self._entry(source).items())

    def add(self, source: Path, out: Path, row: dict) -> None:
        rows = self._of(out.parent)
        rows[out.name] = {"photo": source.name, **self._entry(source), **{k: row[k] for k in ("faces", "psnr", "seconds")}}
        save_json(out.parent / LOG, rows)

    def folders(self) -> str:
        return ", ".join(map(str, self.rows))


def warning_of_jpeg() -> str:
    file = RESULTS / "protect.json"
    if not file.is_file():
        return "JPEG weakens the protection: publish a PNG where you can."
    found = json.loads(file.read_text())
    return (f"JPEG weakens the protection: on {found['photos']} portraits it moved {found['dsr']:.0%} of the forgeries as "
            f"PNG, {found['dsr_jpeg_95']:.0%} as JPEG of quality 95, as it is written here, and {found['dsr_jpeg_75']:.0%} "
            "of quality 75, which is what most sites make of a photo: publish a PNG where you can.")
