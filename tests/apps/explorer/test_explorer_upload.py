"""One's own photo in the explorer: taken, or refused in one sentence."""

import io

import numpy as np
import pytest
from gallery_photos import encoded, gallery_face
from PIL import Image

from idf.apps.explorer.face import face_of
from idf.apps.explorer.networks import judge
from idf.apps.explorer.state import State, targets_of
from idf.apps.explorer.upload import own_face
from idf.apps.explorer.view import render
from idf.config import DOMAINS, UserError
from idf.data.pictures import to_model

pytest.importorskip("dlib")


def test_a_photo_is_edited_by_the_networks_for_photos(other_domains):
    photo, notes = own_face(encoded(gallery_face()), "one.png")
    assert len(photo) == 3 * 64 * 64 and notes == ()
    state = State(photo=photo)
    view = render(state)
    x = to_model(np.frombuffer(photo, np.uint8).reshape(1, 3, 64, 64).copy())
    # its labels are what the judge sees
    shows = face_of(state).shows
    assert list(shows.values()) == (judge("celeba")(x)[0] > 0).tolist()
    assert set(shows) == set(DOMAINS["celeba"]["SD"] + DOMAINS["celeba"]["DD"])
    assert "no labels; the judge sees" in view.sentences[-1]
    assert view.numbers["L2 of y′"] > render(State(photo=photo, eps=0.01)).numbers["L2 of y′"] > 0
    assert other_domains not in targets_of(state.dataset)
    assert not np.array_equal(view.pictures["clean x"], render(State()).pictures["clean x"])


def grey():
    return encoded(gallery_face(), mode="L")


def transparent():
    return encoded(gallery_face(), mode="RGBA")


def for_print():
    return encoded(gallery_face(), "JPEG", "CMYK")


def animation():
    frames = [Image.fromarray(gallery_face(face)) for face in (1, 2)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def in_16_bits():
    return encoded(gallery_face().mean(2).astype(np.uint16) * 257)


def ten_faces():
    first = [gallery_face(face, 128) for face in (0, 1, 2, 3, 4)]
    second = [gallery_face(face, 128) for face in (5, 6, 7, 0, 1)]
    return encoded(np.concatenate([np.concatenate(first, 1), np.concatenate(second, 1)]))


def at_the_border():
    return encoded(gallery_face()[:, 60:])


@pytest.mark.parametrize(
    "make, note",
    [
        (grey, "grey"),
        (transparent, ""),
        (for_print, "sRGB"),
        (animation, "its first frame is used"),
        (in_16_bits, "16 bits"),
        (ten_faces, "It shows 10 faces: the largest is used."),
        (at_the_border, ""),
    ],
)
def test_unusual_photos_are_taken_and_what_was_done_is_said(make, note):
    photo, notes = own_face(make(), "photo")
    assert len(photo) == 3 * 64 * 64 and note in " ".join(notes) and bool(notes) == bool(note)


def text():
    return b"hello"


def empty():
    return b""


def truncated():
    return encoded(gallery_face())[:4000]


def svg():
    return b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"


def large():
    return encoded(np.zeros((10_000, 10_000), bool))


def bomb():
    return encoded(np.zeros((20_000, 20_000), bool))


def no_face():
    return encoded(np.full((200, 200, 3), 90, np.uint8))


def small_face():
    pixels = np.full((256, 256, 3), 200, np.uint8)
    pixels[90:130, 90:130] = np.asarray(Image.fromarray(gallery_face()).resize((40, 40)))
    return encoded(pixels)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (text, "not a photo"),
        (empty, "not a photo"),
        (truncated, "damaged"),
        (svg, "not a photo"),
        (large, "100 megapixels"),
        (bomb, "more pixels|megapixels"),
        (no_face, "No face was found"),
        (small_face, "pixels wide|No face"),
    ],
)
def test_unusable_photos_are_refused_in_one_sentence(make, sentence):
    name = "it's a “name” ../x"
    with pytest.raises(UserError, match=sentence) as error:
        own_face(make(), name)
    said = str(error.value)
    assert name in said and "\n" not in said and ": " in said
