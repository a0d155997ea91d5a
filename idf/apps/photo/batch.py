"""Many photos, several at a time; a batch that was stopped goes on where it was.

A folder of copies has a log, a line of JSON for each photo that was finished.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from idf.apps.photo.difference import largest_change, psnr_of_faces
from idf.apps.photo.files import encoded, kind_of, open_photo, refuse_overwriting
from idf.apps.photo.overview import doubtful_places, overview, place_of
from idf.apps.photo.plan import LOG, overview_of
from idf.apps.photo.protection import Protected, protect
from idf.apps.photo.search import find_faces
from idf.config import UserError
from idf.data.files import write_atomically
from idf.data.pictures import as_jpeg
from idf.data.workers import worker_pool

Pair = tuple[Path, Path]  # a photo, and where its copy goes


@dataclass(frozen=True)
class Options:
    """What holds for all photos of a batch."""

    eps: float
    keep_metadata: bool = False
    force: bool = False  # write copies anew that are there already
    log: bool = True
    overview: bool = False  # a picture beside each copy


def protect_all(pairs: list[Pair], options: Options, jobs: int) -> Iterator[tuple[Pair, dict]]:
    """Each pair with its row of protect_file, as it becomes ready; a progress bar with a log."""
    with tqdm(
        total=len(pairs),
        unit="photo",
        file=sys.stdout,
        disable=None if options.log else True,  # None: where stdout is no terminal
        leave=False,
    ) as bar:
        for pair, row in _rows(pairs, options, min(jobs, len(pairs))):
            bar.update()
            yield pair, row


def _rows(pairs: list[Pair], options: Options, jobs: int) -> Iterator[tuple[Pair, dict]]:
    if jobs == 1:
        for pair in pairs:
            yield pair, protect_file(*pair, options)
        return

    with worker_pool(jobs) as pool:
        waiting = {pool.submit(protect_file, *pair, options): pair for pair in pairs}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def protect_file(source: Path, out: Path, options: Options) -> dict:
    """One photo of a batch: {faces, places, psnr, largest, notes, seconds}.

    What goes wrong becomes {"error": a sentence}, so that the others go on; a copy that is in the
    log already has the logged row and "before".
    """
    try:
        if options.log and not options.force:
            row = finished(source, out, options)
            if row:
                if options.overview and not overview_of(out).exists():
                    _write_overview(source, out, row)
                return row | {"before": True}
        refuse_overwriting(source, out, options.force)
        if options.overview:
            refuse_overwriting(source, overview_of(out), options.force)
        row = _protected_anew(source, out, options)
        if options.overview:
            _write_overview(source, out, row)
        return row
    except UserError as error:
        return {"error": str(error)}
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "there is too little memory"
        return {
            "error": f"{source} was not protected ({reason}, {out}): mend that and run the same "
            "command again."
        }


def _protected_anew(source: Path, out: Path, options: Options) -> dict:
    start = time.monotonic()
    done = protect(source, eps=options.eps)
    content = encoded(done.photo, done.pixels, out.suffix, options.keep_metadata)
    row = {
        "faces": len(done.faces),
        "places": done.places,
        "psnr": round(done.psnr, 2),
        "largest": done.largest,
        "notes": list(done.notes),
        "seconds": round(time.monotonic() - start, 2),
    }
    if kind_of(out.suffix) == "JPEG":
        row |= _as_jpeg_shows_it(done, content)
    # first the log: so a copy that is there and complete is in the log, too
    if options.log:
        note_down(source, out, options, content, row)
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    return row


def _write_overview(source: Path, out: Path, row: dict) -> None:
    """The picture of which faces are protected, beside the copy `out`."""
    photo = open_photo(source)
    places = row.get("places")  # not in a log of an older version
    if places is None:
        places = [place_of(face, photo.pixels.shape) for face in find_faces(photo)]
    framed = overview(photo.pixels, places + doubtful_places(photo, places))
    content = as_jpeg(framed, 90)
    write_atomically(overview_of(out), lambda temporary: temporary.write_bytes(content))


def _as_jpeg_shows_it(done: Protected, content: bytes) -> dict:
    """What of the row is different in the JPEG that is written."""
    written = open_photo(content).pixels
    notes = list(done.notes)
    if done.photo.alpha is not None:
        notes.append("Its transparency is lost: JPEG has none.")
    return {
        "psnr": psnr_of_faces(done.photo.pixels, written, done.faces),
        "largest": largest_change(done.photo.pixels, written),
        "notes": notes,
    }


def note_down(source: Path, out: Path, options: Options, content: bytes, row: dict) -> None:
    """A line in the log, of the copy that is about to be moved to `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    line = _fingerprints(source, out, options, content) | row
    with (out.parent / LOG).open("a") as file:
        file.write(json.dumps(line) + "\n")


def finished(source: Path, out: Path, options: Options) -> dict | None:
    """The log's line for this copy, if it was made from this photo with these settings."""
    log = out.parent / LOG
    if not (log.is_file() and out.is_file() and source.is_file()):
        return None
    expected = _fingerprints(source, out, options, out.read_bytes())
    for text in log.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # cut off by a kill
            continue
        if isinstance(line, dict) and line.items() >= expected.items():
            return line | {"notes": []}
    return None


def _fingerprints(source: Path, out: Path, options: Options, content: bytes) -> dict:
    """What tells the copy with this content from any other."""
    return {
        "copy": out.name,
        "copy_sha256": hashlib.sha256(content).hexdigest(),
        "photo_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "eps": options.eps,
        "metadata": options.keep_metadata,
    }
