"""What PG is trained through: x and x' go the same way, a gradient comes back, chance is seeded."""

import pytest
import torch

from idf import augmentations
from idf.augmentations import transformed_alike
from idf.config import load_config
from idf.data.faces import open_faces
from idf.data.transforms import TRANSFORMS
from idf.editing import make_training, poisoner_loss

CONFIG = load_config("smoke")


@pytest.fixture(scope="module")
def x():
    return open_faces(CONFIG, "test").batch(0, 4, 0)[0]


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def moved(x, x_infected, number):
    return transformed_alike(x, x_infected, seeded(number))


def test_a_face_and_its_poisoned_twin_go_the_same_way(x):
    for number in range(12):
        first, second = moved(x, x.clone(), number)
        assert torch.equal(first, second)
        assert first.shape == x.shape and first.abs().max() <= 1


def test_each_kind_comes_and_so_does_none(x):
    kinds = len(augmentations._kinds()) + 1
    outcomes = [moved(x, x, number)[0] for number in range(8 * kinds)]
    untouched = sum(torch.equal(one, x) for one in outcomes)
    assert 0 < untouched < len(outcomes) / 2
    # each face has a strength of its own
    distances = [(one - x).abs().mean(dim=(1, 2, 3)) for one in outcomes if not torch.equal(one, x)]
    assert all(distance.unique().numel() > 1 for distance in distances)


def test_chance_comes_from_the_generator_alone(x):
    state = torch.random.get_rng_state()
    for number in range(6):
        assert torch.equal(moved(x, x, number)[0], moved(x, x, number)[0])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("kind", range(4))
def test_a_gradient_passes_each_kind(x, kind, monkeypatch):
    only = (augmentations._kinds()[kind],)
    monkeypatch.setattr(augmentations, "_kinds", lambda: only)
    slopes = []
    for number in range(8):
        x_infected = x.clone().requires_grad_(True)
        _, received = moved(x, x_infected, number)
        (slope,) = torch.autograd.grad(received.square().sum(), x_infected)
        assert slope.isfinite().all()
        slopes.append(slope.abs().sum())
    assert min(slopes) > 0


def test_kornias_jpeg_is_near_to_pillows(x):
    """The same file format: what one leaves of a picture, the other leaves."""
    jpeg = augmentations._kinds()[1]
    whole = (x + 1) / 2
    jpeg(whole)
    params = jpeg._params | {"jpeg_quality": torch.full((len(x),), 75.0)}
    by_kornia, by_pillow = 2 * jpeg(whole, params=params) - 1, TRANSFORMS["jpeg-75"](x)
    assert (by_kornia - by_pillow).abs().mean() < 0.6 * (by_pillow - x).abs().mean()


def test_the_loss_is_of_what_the_forger_receives(x, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "idf.editing.transformed_alike", lambda *pair: seen.append(pair[:2]) or pair[:2]
    )
    c = torch.zeros(len(x), 5)
    for through in (False, True):
        run = make_training(CONFIG.changed(through=through))
        poisoner_loss(run, x, c, None)
    assert len(seen) == 1 and torch.equal(seen[0][0], x)
