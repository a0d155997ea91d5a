"""Which photos are meant, and where the copy of each goes, so that no photo is ever lost."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from idf.apps.photo.files import SUFFIXES, kind_of
from idf.config import UserError

LOG = "protected.jsonl"  # idf.apps.photo.batch writes it where the copies lie


@dataclass(frozen=True)
class Source:
    """A photo, and the folder that was given, if it is from one."""

    path: Path
    folder: Path | None = None


def plan(given: list[str], out: str) -> list[tuple[Path, Path]]:
    """Each photo and where its protected copy goes.

    given: photos and folders; out: a file, a folder, or empty for beside the photos. Raises
    UserError where that is not clear, or would lose a photo.
    """
    if "" in given:  # to pathlib it is the folder where one stands
        raise UserError(
            "The name of a photo is empty: name a photo or a folder, like . for this one."
        )
    target = Path(out) if out else None
    sources = [source for name in given for source in _photos_in(Path(name), target)]
    sources = list(dict.fromkeys(sources))

    # one photo into one file
    if target and target.suffix and not target.is_dir() and not out.endswith("/"):
        kind_of(target.suffix)
        if len(sources) > 1 or sources[0].folder:
            raise UserError(
                f"-o {out} is one file, and given are a folder or several photos: name a folder."
            )
        return [(sources[0].path, target)]

    # each photo into a file of its name; a.jpg beside a.png become a.jpg.png and a.png.png
    copies = [_copy_of(source, target, source.path.stem) for source in sources]
    count = Counter(copies)
    for i, source in enumerate(sources):
        if count[copies[i]] > 1:
            copies[i] = _copy_of(source, target, source.path.name)
    pairs = [(source.path, copy) for source, copy in zip(sources, copies, strict=True)]
    _refuse_losses(pairs)
    return pairs


def _photos_in(path: Path, target: Path | None) -> list[Source]:
    """The photos of a folder, or the photo alone.

    What lies in `target`, where copies go, is left out, and so is what is hidden.
    """
    if not path.is_dir():
        return [Source(path)]
    ours = target.resolve() if target and target.resolve() != path.resolve() else None

    photos, others = [], []
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if hidden or file.name == LOG or not file.is_file():
            continue
        if ours and file.resolve().is_relative_to(ours):
            continue
        if file.suffix.lower() in SUFFIXES:
            photos.append(Source(file, path))
        else:
            others.append(file.name)

    if not photos:
        raise UserError(
            f"{path} holds no photo (JPEG, PNG, WebP, TIFF, BMP, GIF): name another folder."
        )
    if others:
        names = ", ".join(others[:5] + (["..."] if len(others) > 5 else []))
        print(f"{path}: left out, as no photos that can be read: {names} ({len(others)}).")
    return photos


def _copy_of(source: Source, target: Path | None, stem: str) -> Path:
    """Where the copy goes, a PNG with this stem."""
    if source.folder:
        whole = source.folder.resolve()
        into = target or whole.with_name(f"{whole.name}_protected")
        return into / source.path.relative_to(source.folder).with_name(f"{stem}.png")
    if target:
        return target / f"{stem}.png"
    return source.path.with_name(f"{stem}_protected.png")


def _refuse_losses(pairs: list[tuple[Path, Path]]) -> None:
    """Raises UserError where two copies would be one file, or a copy another photo."""
    originals = {source.resolve() for source, _ in pairs}
    taken: dict[Path, Path] = {}
    for source, copy in pairs:
        if copy in taken:
            raise UserError(
                f"{taken[copy]} and {source} would both become {copy}: protect them into different "
                "folders."
            )
        if copy.resolve() in originals and copy.resolve() != source.resolve():
            raise UserError(
                f"The copy of {source} would replace the photo {copy}: name another folder with -o."
            )
        taken[copy] = source
