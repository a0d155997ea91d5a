"""`idf check`: what the shipped editors make of a photo and of its protected copy.

In a picture and in numbers.
"""

from pathlib import Path
from typing import Annotated

import typer

from idf.commands.options import check_writable
from idf.config import UserError

Photo = Annotated[str, typer.Argument(metavar="PHOTO", help="The photo as it was.")]
Protected = Annotated[str, typer.Argument(metavar="PROTECTED", help="Its protected copy.")]
Out = Annotated[
    str,
    typer.Option(
        "-o",
        "--out",
        metavar="FILE",
        show_default="PROTECTED with _check.png",
        help="The picture.",
    ),
]


def main(photo: Photo, protected: Protected, out: Out = "") -> int:
    """Prints the numbers, and writes the picture of the largest face."""
    copy = Path(protected)
    path = Path(out) if out else copy.with_name(f"{copy.stem}_check.png")
    refuse_picture(path, [Path(photo), copy], named=bool(out))
    check_writable(path.parent)

    # here, not above: torch and matplotlib take seconds, and help should not
    from idf import figures
    from idf.apps.photo.check import EDITORS, compare, conclusion, see_faces, table
    from idf.apps.photo.difference import largest_change, psnr_of_faces
    from idf.apps.photo.files import open_photo
    from idf.apps.photo.search import find_faces
    from idf.apps.photo.words import counted
    from idf.data.files import write_atomically
    from idf.zoo.load import photo_config

    # the numbers
    original, published = open_photo(photo), open_photo(protected)
    clean, faces = compare(original, published)
    if clean is not original:
        print(f"{published.name} was scaled or cut: {original.name} was laid over it.")
    seen = see_faces(clean, faces, published)
    change = largest_change(clean.pixels, published.pixels)
    psnr = psnr_of_faces(clean.pixels, published.pixels, faces)
    count = counted(len(find_faces(original)), "face")
    print(
        f"{published.name} against {original.name}: {count} in the photo, "
        f"{len(seen)} found in the copy; changed by at most {change} of 255 grey levels, PSNR "
        f"{psnr:.1f} dB."
    )
    print(table(seen))
    print(conclusion(seen))

    # the picture
    figure = figures.checked(seen[0], photo_config().domains, EDITORS)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    which = " (of the largest face)" if len(seen) > 1 else ""
    print(f"{path}: the picture{which}.")
    return 0


def refuse_picture(path: Path, photos: list[Path], named: bool) -> None:
    """Raises UserError where the picture would replace a photo, or any file that the user named."""
    if path.suffix.lower() != ".png":
        raise UserError(f"{path} is no name for the picture: let it end in .png.")
    if not path.exists():
        return
    if any(photo.exists() and path.samefile(photo) for photo in photos):
        raise UserError(f"{path} is one of the photos: name another picture with -o.")
    if named:
        raise UserError(f"{path} is there already: name another picture with -o.")
