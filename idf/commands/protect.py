"""`idf protect`: infect the faces of photos of one's own, before they are published."""

import os
import sys
from typing import Annotated

import typer

from idf.commands.options import check_writable

Photos = Annotated[list[str], typer.Argument(metavar="PHOTO", help="Photos, or folders of photos.")]
Out = Annotated[
    str,
    typer.Option(
        "-o",
        "--out",
        metavar="OUT",
        show_default="beside the photo, as *_protected.png",
        help="A .png file, or for several photos a folder.",
    ),
]
Eps = Annotated[
    float,
    typer.Option(
        show_default="0.03, that is 4 of 255 grey levels",
        help="Largest change, of a range of 2.",
    ),
]
KeepMetadata = Annotated[
    bool,
    typer.Option("--keep-metadata", show_default="dropped", help="Keep place, time and camera."),
]
Jobs = Annotated[int, typer.Option(metavar="N", help="Photos at the same time.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Write copies anew that are there already; never a photo given."),
]
Again = Annotated[
    bool, typer.Option("--again", help="Protect copies that are protected already, too.")
]
Overview = Annotated[
    bool,
    typer.Option(
        "--overview", help="A picture beside each copy, *_overview.jpg, that frames the faces."
    ),
]


def main(
    photos: Photos,
    out: Out = "",
    eps: Eps = 0.03,
    keep_metadata: KeepMetadata = False,
    jobs: Jobs = 1,
    force: Force = False,
    again: Again = False,
    overview: Overview = False,
) -> int:
    """Returns 0, or 2 if a photo could not be protected.

    A second call continues where the first was stopped.
    """
    # here, not above: torch takes seconds, and help should not
    from tqdm import tqdm

    from idf.apps.photo import words
    from idf.apps.photo.batch import Options, protect_all
    from idf.apps.photo.files import kind_of
    from idf.apps.photo.plan import overview_of, plan
    from idf.apps.photo.protection import check_eps
    from idf.apps.photo.search import finder
    from idf.config import UserError

    check_eps(eps)
    if jobs < 1:
        raise UserError(f"--jobs {jobs} must be at least 1.")
    pairs = plan(photos, out, again, overview)
    check_writable(*dict.fromkeys(copy.parent for _, copy in pairs))
    finder()  # without dlib, nothing can be done
    many = len(pairs) > 1 or os.path.isdir(photos[0])

    # each photo; what is said of it as soon as it is ready
    options = Options(eps, keep_metadata, force, log=many, overview=overview)
    new, before, failed = [], 0, 0
    for (source, copy), row in protect_all(pairs, options, jobs):
        if "error" in row:
            failed += 1
            tqdm.write(f"idf: {row['error']}", file=sys.stderr)
            continue
        if "before" in row:
            before += 1
        else:
            new.append(row)
        notes = " ".join(row["notes"])
        if not many:
            places = [words.place(i + 1, face) for i, face in enumerate(row["places"])]
            print(*row["notes"], words.account(copy, row), *places, sep="\n")
            if overview:
                print(f"{overview_of(copy)}: the faces in frames.")
        elif notes:
            tqdm.write(f"{source}: {notes}", file=sys.stdout)

    # all of them
    if many:
        folders = sorted({str(copy.parent) for _, copy in pairs})
        print(words.summary(new, before, failed, folders))
    if new and any(kind_of(copy.suffix) == "JPEG" for _, copy in pairs):
        print(words.warning_of_jpeg(eps))
    if new:
        print(
            "See that no face is missing, and what it does and does not do: "
            "idf check PHOTO PROTECTED"
        )
    return 2 if failed else 0
