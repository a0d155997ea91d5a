"""Photos as people have them: read safely, upright, in RGB of 8 bits; and written again."""

import io
import os
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ImageOps import exif_transpose

from idf.config import UserError
from idf.data.pictures import as_jpeg, scaled_to_8_bits

MOST_PIXELS = 80_000_000  # the decoded picture takes 3 bytes a pixel, and the change as many floats
# what else Pillow opens may start other programs
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "JPEG2000", "GIF", "TIFF", "BMP")
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".gif"),
    *(".tif", ".tiff", ".bmp"),
)
IN_WORDS = "JPEG, PNG, WebP, AVIF, HEIC, JPEG 2000, TIFF, BMP or GIF"
# how a file of a family begins at its 5th byte, and what reads it where Pillow does not
NEED_MORE = {
    b"ftypavif": ("an AVIF picture", "pip install --upgrade pillow"),
    b"ftypavis": ("an AVIF picture", "pip install --upgrade pillow"),
    b"ftyphei": ("a HEIC picture", 'pip install -e ".[photos]"'),
    b"ftyphev": ("a HEIC picture", 'pip install -e ".[photos]"'),
    b"ftypmif1": ("a HEIC picture", 'pip install -e ".[photos]"'),
    b"ftypmsf1": ("a HEIC picture", 'pip install -e ".[photos]"'),
    b"jP  ": ("a JPEG 2000 picture", "pip install --upgrade pillow"),
}
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}  # that can be written
WRITTEN_QUALITY = 95  # of a JPEG that is asked for
ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, upright, with what is needed to write it again."""

    name: str
    pixels: np.ndarray  # uint8 (H, W, 3), RGB
    alpha: np.ndarray | None = None  # uint8 (H, W)
    icc: bytes | None = None
    exif: bytes = b""  # without the orientation, which `pixels` have already
    notes: tuple[str, ...] = ()  # what was changed in reading it, in sentences
    path: Path | None = None  # where it was read from


def open_photo(source: str | Path | bytes, name: str = "") -> Photo:
    """A photo from a file or from its bytes; name stands for the latter in messages.

    Upright by its EXIF tag; CMYK and greys become RGB, 16 bits become 8, of an animation the first
    frame is taken. Raises UserError where it is missing, truncated, above MOST_PIXELS (before it is
    decoded) or no photo.
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), name or "the photo", None)
    path = Path(source)
    name = name or str(source)
    if path.exists() and not path.is_file():
        raise UserError(f"{name} is a folder or no ordinary file: give a photo.")
    return _read(path, name, path)


def _read(file: Path | io.BytesIO, name: str, path: Path | None) -> Photo:
    """Decodes a photo; whatever goes wrong becomes a UserError."""
    millions = MOST_PIXELS / 1e6
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit is above ours
            with Image.open(file, formats=readable_formats()) as image:
                count = image.width * image.height
                if count > MOST_PIXELS:
                    raise UserError(
                        f"{name} has {count / 1e6:.0f} megapixels, more than {millions:.0f}: "
                        "scale it down first."
                    )
                return _decoded(image, name, path)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} {_why_unknown(file)}.") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{name} has more pixels than {millions:.0f} million: scale it down first."
        ) from None
    except FileNotFoundError:
        raise UserError(f"There is no photo {path}: check its name.") from None
    except Exception as error:  # decoders fail on broken files with nearly every exception there is
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name} cannot be read ({reason}): it may be damaged, save it anew."
        ) from error


@cache
def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that Pillow reads here; HEIF by the extra `photos`."""
    try:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    except ImportError:
        pass
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _why_unknown(file: Path | io.BytesIO) -> str:
    """Why a file is no photo to Pillow, and what helps: the end of a sentence."""
    start = file.getvalue()[:12] if isinstance(file, io.BytesIO) else file.read_bytes()[:12]
    for begin, (kind, command) in NEED_MORE.items():
        if start[4:].startswith(begin):
            return (
                f"is {kind}, which cannot be read here: run `{command}`, or save it as a JPEG or "
                "PNG first (if that does not help, the file is damaged)"
            )
    return f"is not a photo that can be read: give a {IN_WORDS} file (save an SVG as PNG first)"


def _decoded(image: Image.Image, name: str, path: Path | None) -> Photo:
    notes = _notes_before_loading(image)
    icc = image.info.get("icc_profile")
    exif = image.getexif()
    image.load()

    # upright, in 8 bits
    image = exif_transpose(image)
    exif.pop(ORIENTATION, None)
    if image.mode.startswith("I"):
        image = scaled_to_8_bits(image)
    if image.mode == "F":
        raise UserError(
            f"{name} has floating-point pixels, which have no fixed range: save it with 8 bits."
        )

    # the transparency apart from the colours, which keep what lies under it
    alpha = None
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    image, icc, more_notes = _in_colour(image, icc)
    pixels = np.asarray(image.convert("RGB" if alpha is None else "RGBA"))[..., :3]

    return Photo(
        name,
        np.ascontiguousarray(pixels),
        alpha,
        icc,
        exif.tobytes() if exif else b"",
        tuple(notes + more_notes),
        path,
    )


def _notes_before_loading(image: Image.Image) -> list[str]:
    """What an opened file says of itself, and a loaded picture does not any more."""
    notes = []
    if any(
        "16" in mode for mode in (image.mode, *_raw_modes(image))
    ):  # in colour, they arrive as 8
        notes.append("It has 16 bits a channel: 8 of them are used.")
    # MPO: phones hide a second view in a JPEG
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("It is animated: its first frame is used.")
    return notes


def _raw_modes(image: Image.Image) -> list[str]:
    """How the pixels stand in the file, where its format says it, like RGB;16B."""
    arguments = [tile[3] for tile in image.tile]
    first = [one[0] if isinstance(one, tuple) and one else one for one in arguments]
    return [one for one in first if isinstance(one, str)]


def _in_colour(
    image: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None, list[str]]:
    """A picture that `convert` makes RGB of, the colour profile that still holds, and notes."""
    if image.mode in ("RGB", "RGBA"):
        return image, icc, []
    if image.mode in ("CMYK", "LAB", "YCbCr"):
        return _to_srgb(image, icc), None, ["Its colours are converted to sRGB."]
    notes = []
    if image.mode in ("L", "LA", "1"):
        notes.append("It is grey, and the change has colours.")
    is_for_rgb = icc is not None and icc[16:20] == b"RGB "
    return image, icc if is_for_rgb else None, notes


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    try:
        if icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        pass  # a damaged profile: Pillow's own formula below
    return image.convert("RGB")


def encoded(photo: Photo, pixels: np.ndarray, suffix: str, keep_metadata: bool = False) -> bytes:
    """The file with these pixels (H, W, 3): PNG, or JPEG by the suffix.

    It has the photo's colour profile and, as PNG, its transparency; with keep_metadata its EXIF
    (place, time, camera), too. Raises UserError for another suffix.
    """
    options = {"icc_profile": photo.icc}
    if keep_metadata and photo.exif:
        options["exif"] = photo.exif
    if kind_of(suffix) == "JPEG":
        return as_jpeg(pixels, WRITTEN_QUALITY, full_colour=True, **options)
    if photo.alpha is not None:
        pixels = np.dstack([pixels, photo.alpha])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4, **options)
    return buffer.getvalue()


def kind_of(suffix: str) -> str:
    """PNG or JPEG; UserError for the suffix of anything else."""
    if suffix.lower() not in KINDS:
        raise UserError(
            f"The output cannot end in {suffix or 'nothing'!r}: let it end in .png, which keeps "
            "every bit, in .jpg, or, for a folder, in a slash."
        )
    return KINDS[suffix.lower()]


def refuse_overwriting(source: Path | None, out: Path, force: bool) -> None:
    """Raises UserError where `out` is the photo `source` itself, or, unless force, any file."""
    if source and out.exists() and source.exists() and os.path.samefile(source, out):
        raise UserError(
            f"{out} is the photo itself, which is never overwritten: name another output with -o."
        )
    if out.exists() and not force:
        raise UserError(f"{out} is there already: name another output with -o, or add --force.")
