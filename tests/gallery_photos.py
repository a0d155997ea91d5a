"""Photos for the explorer's tests: faces of its gallery."""

import io

from PIL import Image

from idf.apps.explorer.state import GALLERY
from idf.data.drawn.faces import render_faces


def gallery_face(face=1, size=256):
    """A face of the gallery, uint8 (size, size, 3)."""
    return render_faces([GALLERY[face]], size).images[0].permute(1, 2, 0).numpy()


def encoded(pixels, kind="PNG", mode=None, **options):
    """The bytes of a picture's file, in another mode of Pillow if given."""
    image = Image.fromarray(pixels)
    if mode:
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
