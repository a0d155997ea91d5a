"""One's own photo: read safely, its faces found and aligned as CelebA's are, a perturbation put back, written.

Alignment is a similarity that brings five points of a face (eyes, tip of the nose, corners of the mouth) to where they lie
in CelebA's aligned pictures of 178 x 218.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ImageOps import exif_transpose
from torch import Tensor

from idf.config import UserError
from idf.data import CROP, scaled_to_8_bits

MOST_PIXELS = 80_000_000  # the decoded picture takes 3 bytes a pixel, and the change as many floats
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "TIFF",
    "BMP",
)  # what else Pillow opens may start other programs
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp")
# where the five points lie in CelebA's aligned pictures, measured with the same landmarks on 392 of them, without its
# upper and lower 20 rows
TEMPLATE = np.array([[69.7, 93.3], [108.3, 93.3], [88.5, 115.5], [71.5, 133.5], [106.5, 133.5]])
LEAST_SIDE = (
    64  # of a crop, in pixels of the photo: below it the networks see more pixels than there are
)
LONGEST = 1600  # the detector gets the photo at twice its size, but not beyond this, and doubles it once more
WRITTEN_QUALITY = 95  # of a JPEG that is asked for
FEATHER = 0.06  # share of the crop's side over which the change fades out at the border
STEPS, DAMPING = 12, 1e-2  # of the conjugate gradients


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


@dataclass(frozen=True, eq=False)
class Place:
    """Where a face is: the similarity from CelebA's square crop (CROP x CROP) to the photo, both in pixels."""

    matrix: np.ndarray  # (2, 3)

    @property
    def side(self) -> float:
        """Side of the crop in pixels of the photo."""
        return CROP * float(np.hypot(*self.matrix[:, 0]))

    def corners(self) -> np.ndarray:
        """The crop's four corners in the photo, (4, 2)."""
        square = np.array([[0, 0], [CROP, 0], [CROP, CROP], [0, CROP]])
        return square @ self.matrix[:, :2].T + self.matrix[:, 2]


def open_photo(source: str | Path | bytes, name: str = "") -> Photo:
    """A photo from a file or from its bytes; name stands for the latter in messages.

    Upright by its EXIF tag; CMYK and greys become RGB, 16 bits become 8, of an animation the first frame is taken.
    Raises UserError where it is missing, truncated, above MOST_PIXELS (before it is decoded) or no photo.
    """
    named = name or (str(source) if not isinstance(source, bytes) else "the photo")
    path = None if isinstance(source, bytes) else Path(source)
    if path and path.exists() and not path.is_file():
        raise UserError(f"{named} is a folder or no ordinary file: give a photo.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit is above ours
            with Image.open(
                io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
            ) as image:
                if (count := image.width * image.height) > MOST_PIXELS:
                    raise UserError(
                        f"{named} has {count / 1e6:.0f} megapixels, more than {MOST_PIXELS / 1e6:.0f}: scale it "
                        "down first."
                    )
                return _decoded(image, named, path)
    except UnidentifiedImageError:
        raise UserError(
            f"{named} is not a photo that can be read: give a JPEG, PNG, WebP, TIFF, BMP or GIF file (save a "
            "HEIC or SVG picture as one of them first)."
        ) from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{named} has more pixels than {MOST_PIXELS / 1e6:.0f} million: scale it down first."
        ) from None
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"There is no photo {source}: check its name.") from None
    except Exception as error:  # decoders fail on broken files with nearly every exception there is
        reason = " ".join(str(error).split())
        raise UserError(
            f"{named} cannot be read ({reason or type(error).__name__}): it may be damaged, save it anew."
        ) from error


def _decoded(image: Image.Image, name: str, path: Path | None) -> Photo:
    notes = []
    if any(
        "16" in str(tile[3]) for tile in image.tile
    ):  # gone after loading: 16 bits a channel in colour arrive as 8
        notes.append("It has 16 bits a channel: 8 of them are used.")
    if (
        getattr(image, "is_animated", False) and image.format != "MPO"
    ):  # phones hide a second view in a JPEG
        notes.append("It is animated: its first frame is used.")
    icc, exif = image.info.get("icc_profile"), image.getexif()
    image.load()
    image = exif_transpose(image)
    exif.pop(0x0112, None)  # the orientation: the pixels are upright now
    if image.mode.startswith("I"):
        image = scaled_to_8_bits(image)
    if image.mode == "F":
        raise UserError(
            f"{name} has floating-point pixels, which have no fixed range: save it with 8 bits."
        )
    alpha = np.asarray(image.convert("RGBA"))[..., 3] if image.has_transparency_data else None
    space = icc[16:20] if icc and len(icc) > 20 else b""
    if image.mode in ("CMYK", "LAB", "YCbCr"):
        image, icc = _to_srgb(image, icc), None
        notes.append("Its colours are converted to sRGB.")
    elif image.mode not in ("RGB", "RGBA"):
        if image.mode in ("L", "LA", "1"):
            notes.append("It is grey, and the change has colours.")
        icc = icc if space == b"RGB " else None
    pixels = np.asarray(image.convert("RGBA" if alpha is not None else "RGB"))[..., :3]
    return Photo(
        name,
        np.ascontiguousarray(pixels),
        alpha,
        icc,
        exif.tobytes() if exif else b"",
        tuple(notes),
        path,
    )


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    try:
        if icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            return ImageCms.profileToProfile(
                image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
    except (ImageCms.PyCMSError, OSError):
        pass  # a damaged profile: Pillow's own formula below
    return image.convert("RGB")


@cache
def finder() -> Callable:
    """dlib's, kept: its model takes 100 MB and half a second. `finder.cache_clear()` lets it go."""
    from idf.video import face_finder  # with PyAV, which a photo given with its place does not need

    return face_finder(always_twice=True)


def find_faces(photo: Photo) -> list[Place]:
    """The places of all faces, the largest first. Raises UserError where there is none, or without the extra `video`."""
    height, width = photo.pixels.shape[:2]
    scale = min(2.0, LONGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(photo.pixels).resize(size, Image.Resampling.BICUBIC))
    found = finder()(small)
    if not found:
        raise UserError(
            f"No face was found in {photo.name}: use a photo that shows one from the front, at least 40 pixels "
            f"and a {LONGEST // 40}th of the photo wide, its eyes uncovered."
        )
    places = [place_of(points * (width / size[0], height / size[1])) for points in found]
    return sorted(places, key=lambda place: -place.side)


def place_of(landmarks: np.ndarray) -> Place:
    """The place of a face with these 68 landmarks (x, y) in pixels of the photo: the least-squares similarity."""
    points = np.stack(
        [
            landmarks[36:42].mean(0),
            landmarks[42:48].mean(0),
            landmarks[30],
            landmarks[48],
            landmarks[54],
        ]
    )
    a, b = TEMPLATE - TEMPLATE.mean(0), points - points.mean(0)
    # as complex numbers a similarity is one factor
    a, b = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    factor = (a.conj() @ b) / (a.conj() @ a)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return Place(np.concatenate([turn, (points.mean(0) - turn @ TEMPLATE.mean(0))[:, None]], 1))


def aligned(pixels: np.ndarray, place: Place, size: int) -> Tensor:
    """The face as CelebA's is cropped, uint8 (3, size, size); what lies outside the photo repeats its border."""
    window, corner = _window(pixels, place)
    x = torch.from_numpy(window.copy()).permute(2, 0, 1).float()
    return _sampler(place, corner, x.shape[-2:], size)(x).round().clamp(0, 255).to(torch.uint8)


def put_back(pixels: np.ndarray, place: Place, delta: Tensor, eps: float) -> np.ndarray:
    """The photo (H, W, 3) with delta (3, S, S), a change on [-1, 1] of the aligned face, added; uint8.

    No pixel moves by more than eps, rounded to whole grey levels.

    `aligned` shrinks, so many changes of the photo look like delta after it; this is the least of them. It fades out
    towards the border of the crop; beyond it the photo stays as it is, bit for bit.
    """
    edge = torch.linspace(0, 1, delta.shape[-1])
    fade = (torch.minimum(edge, 1 - edge) / FEATHER).clamp(0, 1)
    fade = 0.5 - 0.5 * torch.cos(torch.pi * fade)
    window, (left, top) = _window(pixels, place)
    height, width = window.shape[:2]
    # a large face is solved for on a photo `by` times smaller: the change is smooth there, and enlarging it loses nothing
    by = max(1, round(place.side / (2 * CROP)))
    shape = -(-height // by), -(-width // by)
    shrink = _sampler(Place(place.matrix / by), np.array([left, top]) / by, shape, delta.shape[-1])
    change = _least_change(shrink, delta.float() * fade * fade[:, None], (3, *shape))
    change = (
        F.interpolate(change[None], scale_factor=by, mode="bicubic")[0, :, :height, :width]
        if by > 1
        else change
    )
    new = torch.from_numpy(window.copy()) + 127.5 * change.clamp(-eps, eps).permute(1, 2, 0)
    out = pixels.copy()
    out[top : top + height, left : left + width] = new.round().clamp(0, 255).to(torch.uint8).numpy()
    return out


def _least_change(
    shrink: Callable[[Tensor], Tensor], delta: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """The p of least norm with shrink(p) = delta, for a linear map: p = A^T q, where A A^T q = delta.

    By conjugate gradients, damped, since a small photo cannot hold all of delta.
    """
    with torch.enable_grad():
        p = torch.zeros(shape, requires_grad=True)
        image = shrink(p)
    transposed = lambda q: torch.autograd.grad(image, p, q, retain_graph=True)[0]
    with torch.no_grad():
        damping = DAMPING * shrink(transposed(delta)).norm() / delta.norm().clamp(min=1e-20)
    q, rest = torch.zeros_like(delta), delta
    direction, size = rest, rest.square().sum()
    for _ in range(STEPS):
        with torch.no_grad():
            along = shrink(transposed(direction)) + damping * direction
        step = size / (direction * along).sum().clamp(min=1e-20)
        q, rest = q + step * direction, rest - step * along
        size, previous = rest.square().sum(), size
        direction = rest + size / previous.clamp(min=1e-20) * direction
    return transposed(q)


def _sampler(place: Place, corner, shape: tuple[int, ...], size: int) -> Callable[[Tensor], Tensor]:
    """The linear map from a window (3, h, w) of the photo, its left top at `corner`, to the aligned face (3, size, size)."""
    # about one sample a pixel of the photo, at least as many as CelebA's own pictures have
    n = CROP * max(1, round(place.side / CROP))
    u = (torch.arange(n, dtype=torch.float64) + 0.5) * (CROP / n)
    v, u = torch.meshgrid(u, u, indexing="ij")
    at = torch.stack([u, v, torch.ones_like(u)], -1) @ torch.tensor(place.matrix).T - torch.tensor(
        corner
    )
    grid = (at * 2 / torch.tensor([shape[1], shape[0]]) - 1)[None].float()
    rows = _shrinking(n, size)
    return lambda x: rows @ F.grid_sample(x[None], grid, "bilinear", "border", False)[0] @ rows.T


def _window(pixels: np.ndarray, place: Place) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of the photo that holds the crop, and its left and top: a whole photo in floats may be large."""
    height, width = pixels.shape[:2]
    corners = place.corners()
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, (width - 1, height - 1))
    right, bottom = np.clip(
        np.ceil(corners.max(0)).astype(int) + 2, (left + 1, top + 1), (width, height)
    )
    return pixels[top:bottom, left:right], (int(left), int(top))


@lru_cache(maxsize=8)
def _shrinking(n: int, size: int) -> Tensor:
    """(size, n): bicubic shrinking along one axis with antialiasing, as Pillow's resize and so idf.data does it."""
    eye = torch.eye(n)[None, None]
    return F.interpolate(eye, (size, n), mode="bicubic", antialias=True)[0, 0]


def encoded(photo: Photo, pixels: np.ndarray, suffix: str, keep_metadata: bool = False) -> bytes:
    """The file with these pixels (H, W, 3) and the photo's transparency and colour profile: PNG, or JPEG by the suffix.

    keep_metadata: its EXIF too (place, time, camera), which is left out otherwise. Raises UserError for another suffix.
    """
    options = {
        "icc_profile": photo.icc,
        **({"exif": photo.exif} if keep_metadata and photo.exif else {}),
    }
    if kind_of(suffix) == "JPEG":
        return as_jpeg(pixels, WRITTEN_QUALITY, full_colour=True, **options)
    layers, buffer = (
        pixels if photo.alpha is None else np.dstack([pixels, photo.alpha]),
        io.BytesIO(),
    )
    Image.fromarray(layers).save(buffer, "PNG", compress_level=4, **options)
    return buffer.getvalue()


def kind_of(suffix: str) -> str:
    """PNG or JPEG; UserError for the suffix of anything else."""
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(suffix.lower())
    if not kind:
        raise UserError(
            f"The output cannot end in {suffix or 'nothing'!r}: let it end in .png, which keeps every bit, in "
            ".jpg, or, for a folder, in a slash."
        )
    return kind


def as_jpeg(pixels: np.ndarray, quality: int, full_colour: bool = False, **options) -> bytes:
    """pixels (H, W, 3) as a JPEG; unless full_colour with a quarter of the colours (4:2:0), as most programs save it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "JPEG", quality=quality, subsampling=0 if full_colour else 2, **options
    )
    return buffer.getvalue()


def recompressed(pixels: np.ndarray, quality: int, full_colour: bool = False) -> np.ndarray:
    """uint8 (H, W, 3) after such a JPEG."""
    return np.array(Image.open(io.BytesIO(as_jpeg(pixels, quality, full_colour))))
