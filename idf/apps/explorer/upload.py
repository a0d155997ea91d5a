"""One's own photo: the largest face in it, cut out as CelebA's are."""

import ctypes

from idf.apps.explorer.face import SIZE
from idf.apps.photo import LEAST_SIDE, Photo, aligned, find_faces, finder, open_photo
from idf.apps.photo.align import Alignment
from idf.config import UserError


def own_face(content: bytes, name: str) -> tuple[bytes, tuple[str, ...]]:
    """The largest face of a photo as a State's photo, and what should be said of it.

    Raises UserError for a file that is no photo, and for one without a face of LEAST_SIDE pixels.
    """
    photo = open_photo(content, name)
    faces = _faces_in(photo)
    largest = faces[0]
    if largest.side < LEAST_SIDE:
        raise UserError(
            f"The face in {name} is only {largest.side:.0f} pixels wide with its hair: use a photo "
            f"in which it has at least {LEAST_SIDE}."
        )
    notes = photo.notes
    if len(faces) > 1:
        notes += (f"It shows {len(faces)} faces: the largest is used.",)
    return aligned(photo.pixels, largest, SIZE).numpy().tobytes(), notes


def _faces_in(photo: Photo) -> list[Alignment]:
    """find_faces, after which dlib's model is given back: 100 MB in each session.

    The next photo loads it again, in a second.
    """
    try:
        return find_faces(photo)
    finally:
        finder.cache_clear()
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # by itself the GNU library keeps what is freed
            libc.malloc_trim(0)
