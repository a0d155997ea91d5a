"""The drawn faces: exact, repeatable, and true to their attributes."""

import pytest
import torch

from idf.config import HAIR, UserError
from idf.data.drawn.faces import ATTRIBUTES, LABELS, FaceBatch, render_faces

SEEDS = range(100, 164)
FIELDS = ("images", "attributes", "landmarks", "labels")


@pytest.fixture(scope="module")
def faces() -> FaceBatch:
    return render_faces(SEEDS, 64)


def has(faces: FaceBatch, name: str) -> torch.Tensor:
    return faces.attributes[:, ATTRIBUTES.index(name)]


def area(faces: FaceBatch, name: str) -> torch.Tensor:
    return faces.labels == LABELS.index(name)


def mean_colour(faces: FaceBatch, where: torch.Tensor) -> torch.Tensor:
    """Mean colour (N, 3) in 0..255 of the pixels `where` (N, S, S)."""
    weight = where[:, None].float()
    return (faces.images * weight).sum((2, 3)) / weight.sum((2, 3))


def test_types_and_shapes(faces):
    n = len(SEEDS)
    assert (faces.images.shape, faces.images.dtype) == ((n, 3, 64, 64), torch.uint8)
    assert (faces.attributes.shape, faces.attributes.dtype) == ((n, len(ATTRIBUTES)), torch.bool)
    assert (faces.landmarks.shape, faces.landmarks.dtype) == ((n, 68, 2), torch.float32)
    assert (faces.labels.shape, faces.labels.dtype) == ((n, 64, 64), torch.uint8)


@pytest.mark.parametrize("size", [32, 45, 64])
def test_same_seed_same_face_in_any_batch(size):
    together = render_faces(range(40), size)
    assert together.images.flatten(1).unique(dim=0).shape[0] == 40
    for seed in (0, 17, 39):
        alone = render_faces([seed], size)
        for name in FIELDS:
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[seed]), name


def test_same_face_at_any_size(faces):
    large = render_faces(SEEDS, 256)
    assert torch.equal(large.attributes, faces.attributes)
    torch.testing.assert_close(
        (large.landmarks + 0.5) / 4, faces.landmarks + 0.5, atol=1e-3, rtol=0
    )
    shrunk = torch.nn.functional.avg_pool2d(large.images.float(), 4)
    same = (shrunk - faces.images).abs().mean()
    other = (shrunk.roll(1, 0) - faces.images).abs().mean()
    assert same < 3 < 20 < other


def test_one_hair_colour_and_the_promised_shares():
    attributes = render_faces(range(1000), 32).attributes.float()
    assert sum(attributes[:, ATTRIBUTES.index(name)] for name in HAIR).eq(1).all()
    expected = dict.fromkeys(HAIR, 0.25) | {
        "Eyeglasses": 0.4,
        "Smiling": 0.5,
        "No_Beard": 0.65,
        "Bangs": 0.4,
        "Pale_Skin": 0.25,
        "Wearing_Hat": 0.15,
        "Young": 0.7,
    }
    share = dict(zip(ATTRIBUTES, attributes.mean(0).tolist(), strict=True))
    assert share == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("value", [True, False])
def test_override_forces_its_attribute_and_no_other(faces, name, value):
    forced = render_faces(SEEDS, 64, **{name: value})
    assert (has(forced, name) == value).all()
    already = has(faces, name) == value
    assert 0 < already.sum() < len(SEEDS)
    assert torch.equal(forced.images[already], faces.images[already])
    assert (forced.images[~already] != faces.images[~already]).flatten(1).any(1).all()
    for other in set(ATTRIBUTES) - set(HAIR if name in HAIR else [name]):
        assert torch.equal(has(forced, other), has(faces, other)), other
    assert sum(has(forced, colour).int() for colour in HAIR).eq(1).all()


def test_smile_changes_the_face_but_not_its_frame():
    smiling, neutral = render_faces(SEEDS, 64, Smiling=True), render_faces(SEEDS, 64, Smiling=False)
    change = (smiling.images.int() - neutral.images.int()).abs().amax(1).float()
    mouth = torch.zeros(64, 64, dtype=torch.bool)
    mouth[38:56, 18:46] = True
    assert (change[:, mouth].mean(1) > 5 * change[:, ~mouth].mean(1)).all()
    assert change[area(neutral, "background") | area(neutral, "cloth")].max() <= 2
    corners = smiling.landmarks[:, [48, 54]] - neutral.landmarks[:, [48, 54]]
    assert (corners[..., 1] < -1).all(), "they rise"
    assert (corners[:, 0, 0] < -0.5).all() and (corners[:, 1, 0] > 0.5).all(), "and part"
    assert (area(smiling, "mouth").sum((1, 2)) > area(neutral, "mouth").sum((1, 2)) + 5).all()


@pytest.mark.parametrize("name", HAIR)
def test_hair_colour_moves_nothing(faces, name):
    other = render_faces(SEEDS, 64, **{name: True})
    assert torch.equal(other.landmarks, faces.landmarks)
    assert torch.equal(other.labels, faces.labels)
    change = (other.images.int() - faces.images.int()).abs().amax(1).float()
    assert change[area(faces, "background")].mean() < 1 < 10 < change[area(faces, "hair")].mean()


def test_hair_and_skin_colours_are_told_apart():
    colour = {}
    for name in HAIR:
        batch = render_faces(SEEDS, 64, **{name: True})
        colour[name] = mean_colour(batch, area(batch, "hair"))
    light = {name: value.mean(1) for name, value in colour.items()}
    warm = {name: value[:, 0] - value[:, 2] for name, value in colour.items()}
    assert light["Black_Hair"].max() < light["Brown_Hair"].min()
    assert light["Brown_Hair"].max() < light["Blond_Hair"].min()
    assert light["Gray_Hair"].min() > light["Brown_Hair"].max()
    assert warm["Gray_Hair"].max() < 15 < 60 < warm["Blond_Hair"].min()
    darkest = {}
    for is_pale in (True, False):
        batch = render_faces(SEEDS, 64, Pale_Skin=is_pale, No_Beard=True)
        darkest[is_pale] = mean_colour(batch, area(batch, "nose")).min(1).values
    assert darkest[True].min() > darkest[False].max()


def test_labels_are_there(faces):
    always = {
        "background",
        "skin",
        "nose",
        "left eye",
        "right eye",
        "lower lip",
        "hair",
        "neck",
        "cloth",
    }
    for name in always:
        assert area(faces, name).flatten(1).any(1).all(), name
    for name, attribute in (("glasses", "Eyeglasses"), ("hat", "Wearing_Hat")):
        assert torch.equal(area(faces, name).flatten(1).any(1), has(faces, attribute)), name
    never = {"earring", "necklace"}
    for name in set(LABELS) - always - never:
        assert area(faces, name).any(), name


def test_landmarks_lie_in_the_picture_and_in_order(faces):
    points = faces.landmarks
    assert points.min() > 0 and points.max() < 63
    x, y = points.unbind(-1)
    for start, stop in ((0, 17), (17, 22), (22, 27), (31, 36), (48, 55), (60, 65)):
        assert (x[:, start + 1 : stop] > x[:, start : stop - 1]).all(), start
    assert (y[:, 28:31] > y[:, 27:30]).all()
    middle = {
        name: points[:, start:stop].mean(1)
        for name, start, stop in (
            ("brows", 17, 27),
            ("eyes", 36, 48),
            ("nose", 31, 36),
            ("mouth", 48, 68),
            ("chin", 8, 9),
        )
    }
    heights = torch.stack([value[:, 1] for value in middle.values()])
    assert (heights[1:] > heights[:-1] + 2).all()
    assert (x[:, 39] < x[:, 42]).all() and (y[:, 37:39] < y[:, 40:42]).all()


def test_landmarks_agree_with_the_labels():
    """Left and right are the person's: points 36-41 frame the eye on the picture's left."""
    faces = render_faces(SEEDS, 256, Bangs=False, Wearing_Hat=False)
    grid = torch.arange(256.0)
    for name, points in (
        ("right eye", slice(36, 42)),
        ("left eye", slice(42, 48)),
        ("right brow", slice(17, 22)),
        ("left brow", slice(22, 27)),
    ):
        mask = area(faces, name).float()
        assert mask.sum((1, 2)).min() > 60, name
        moments = torch.stack([(mask.sum(1) * grid).sum(1), (mask.sum(2) * grid).sum(1)], 1)
        centre = moments / mask.sum((1, 2))[:, None]
        error = (centre - faces.landmarks[:, points].mean(1)).norm(dim=1)
        assert error.max() < 8, name
    x, y = faces.landmarks[:, 30].round().long().unbind(1)
    assert (faces.labels[torch.arange(len(x)), y, x] == LABELS.index("nose")).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(seeds=[0], Moustache=True), "Moustache"),
        (dict(seeds=[0], Smiling=1), "Smiling"),
        (dict(seeds=[0], size=31), "size"),
        (dict(seeds=[0], size=257), "size"),
        (dict(seeds=[0], size=64.0), "size"),
        (dict(seeds=[]), "seeds"),
        (dict(seeds=[-1]), "seeds"),
        (dict(seeds=["a"]), "seeds"),
        (dict(seeds=5), "seeds"),
        (dict(seeds=[0], Black_Hair=True, Blond_Hair=True), "hair colour"),
        (dict(seeds=[0], **dict.fromkeys(HAIR, False)), "hair colour"),
    ],
)
def test_user_errors(arguments, message):
    with pytest.raises(UserError, match=message):
        render_faces(**arguments)
