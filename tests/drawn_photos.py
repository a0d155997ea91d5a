"""Photos for tests: drawn faces on a plain wall, and pictures without a face."""

import io
from functools import cache

import numpy as np
from PIL import Image

from idf.commands import main
from idf.data.drawn.faces import render_faces


@cache
def drawn(seed=0, size=200):
    """A drawn face, uint8 (size, size, 3)."""
    return render_faces([seed], size=size).images[0].permute(1, 2, 0).contiguous().numpy()


def canvas(*seeds):
    """Drawn faces beside each other on a plain wall, larger than their crops."""
    wall = np.full((300, 300 * len(seeds), 3), 180, np.uint8)
    for i, seed in enumerate(seeds):
        wall[60:260, 300 * i + 50 : 300 * i + 250] = drawn(seed)
    return Image.fromarray(wall)


def smooth(height=400, width=300):
    """A picture without fine detail, so that resampling twice is no loss."""
    coarse = np.random.default_rng(0).integers(60, 196, (8, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def similarity(scale=1.0, degrees=0.0, shift=(0.0, 0.0)):
    """Its matrix, (2, 3)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = scale * np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([turn, np.array(shift)[:, None]], 1)


def file_of(picture, kind="PNG", **options):
    """The bytes of a picture's file, with Pillow's options."""
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def run(*words):
    """The exit status of `idf` with these words."""
    return main([str(word) for word in words])
