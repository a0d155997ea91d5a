"""Which photos are meant, and where the copy of each goes, so that no photo is ever lost."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from idf.apps.photo.files import IN_WORDS, KINDS, SUFFIXES, kind_of
from idf.config import UserError

LOG = "protected.jsonl"  # idf.apps.photo.batch writes it where the copies lie
COPY = "_protected"  # ends the name of a copy beside its photo
PICTURES = ("_overview", "_check")  # end the names of pictures beside a copy


@dataclass(frozen=True)
class Source:
    """A photo, and the folder that was given, if it is from one."""

    path: Path
    folder: Path | None = None


def plan(
    given: list[str], out: str, again: bool = False, overview: bool = False
) -> list[tuple[Path, Path]]:
    """Each photo and where its protected copy goes.

    given: photos and folders; out: a file, a folder, or empty for beside the photos. A copy is not
    protected once more, unless `again`: that would only make it more visible. overview: a picture
    goes beside each copy. Raises UserError
    where it is not clear what is meant, or a photo would be lost.
    """
    if "" in given:  # to pathlib it is the folder where one stands
        raise UserError(
            "The name of a photo is empty: name a photo or a folder, like . for this one."
        )
    target = Path(out) if out else None
    sources = [source for name in given for source in _photos_in(Path(name), target)]
    sources = list(dict.fromkeys(sources))
    if not again:
        sources = _without_copies(sources)

    # one photo into one file
    if target and target.suffix and not target.is_dir() and not out.endswith("/"):
        kind_of(target.suffix)
        if len(sources) > 1 or sources[0].folder:
            raise UserError(
                f"-o {out} is one file, and given are a folder or several photos: name a folder."
            )
        pairs = [(sources[0].path, target)]
        _refuse_losses(pairs, overview)
        return pairs

    # each photo into a file of its name; a.jpg beside a.png become a.jpg.png and a.png.png
    copies = [_copy_of(source, target, source.path.stem) for source in sources]
    count = Counter(copies)
    for i, source in enumerate(sources):
        if count[copies[i]] > 1:
            copies[i] = _copy_of(source, target, source.path.name)
    pairs = [(source.path, copy) for source, copy in zip(sources, copies, strict=True)]
    _refuse_losses(pairs, overview)
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
        raise UserError(f"{path} holds no photo ({IN_WORDS}): name another folder.")
    if others:
        names = ", ".join(others[:5] + (["..."] if len(others) > 5 else []))
        print(f"{path}: left out, as no photos that can be read: {names} ({len(others)}).")
    return photos


def _without_copies(sources: list[Source]) -> list[Source]:
    """The photos that are no protected copies, nor pictures of some.

    Raises UserError where none is left.
    """
    copies = [source.path for source in sources if is_ours(source.path)]
    photos = [source for source in sources if source.path not in copies]
    if not photos:
        raise UserError(
            f"{copies[0]} is protected already: give the photo that it was made from, or add "
            "--again."
        )
    if copies:
        names = ", ".join([path.name for path in copies[:5]] + ["..."] * (len(copies) > 5))
        print(f"Left out, protected already: {names} ({len(copies)}); --again takes them, too.")
    return photos


def is_ours(path: Path) -> bool:
    """Is this a protected copy, or a picture that was made of one?"""
    for ending in PICTURES:
        if path.stem.endswith(ending):
            stem = path.stem.removesuffix(ending)
            return any(is_copy(path.with_name(stem + suffix)) for suffix in KINDS)
    return is_copy(path)


def is_copy(path: Path) -> bool:
    """Is this a protected copy: by its name, with the photo beside it, or by its folder's log?"""
    if not path.is_file():
        return False
    if path.stem.endswith(COPY):
        beside = [file for file in path.parent.iterdir() if file.suffix.lower() in SUFFIXES]
        if path.stem.removesuffix(COPY) in [file.stem for file in beside]:
            return True
    log = path.with_name(LOG)
    if not log.is_file():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() in log.read_text(errors="replace")


def _copy_of(source: Source, target: Path | None, stem: str) -> Path:
    """Where the copy goes, a PNG with this stem."""
    if source.folder:
        whole = source.folder.resolve()
        into = target or whole.with_name(f"{whole.name}{COPY}")
        return into / source.path.relative_to(source.folder).with_name(f"{stem}.png")
    if target:
        return target / f"{stem}.png"
    return source.path.with_name(f"{stem}{COPY}.png")


def overview_of(copy: Path) -> Path:
    """Where the picture of which faces are protected goes."""
    return copy.with_name(f"{copy.stem}_overview.jpg")


def _refuse_losses(pairs: list[tuple[Path, Path]], overview: bool) -> None:
    """Raises UserError where two files would be one, or one of them a photo that was given."""
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
        if overview and overview_of(copy).resolve() in originals:
            raise UserError(
                f"The overview of {source} would replace the photo {overview_of(copy)}: name "
                "another output with -o."
            )
        taken[copy] = source
