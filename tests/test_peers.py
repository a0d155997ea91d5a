"""Peers from the literature: what each may change, how far, and that its surrogate is moved."""

import pytest
import torch
from kornia.color import rgb_to_lab
from torch.testing import assert_close

from idf import attacks
from idf.config import HAIR, load_config
from idf.data.faces import open_faces
from idf.losses import forge, infect, target_labels
from idf.networks import frozen, make_generator
from idf.peers import UniversalPoison, find_universal, lab

CONFIG = load_config("smoke", **{"poisoner.iterations": 20, "poisoner.eps": 0.05})
EPS = 0.05


def fresh_editor():
    return make_generator("Res6", len(CONFIG.domains), CONFIG.editor.width, CONFIG.size)


@pytest.fixture(scope="module")
def editor():
    torch.manual_seed(0)
    return frozen(fresh_editor())


@pytest.fixture(scope="module")
def faces():
    return open_faces(CONFIG, "surrogate")


@pytest.fixture(scope="module")
def universal(editor, faces):
    return find_universal([editor], faces, CONFIG)


@pytest.fixture(scope="module")
def scene():
    """Held-out faces, and what is asked for."""
    _, x, c = next(open_faces(CONFIG, "test", limit=4).in_order(4))
    return x, target_labels(c, CONFIG.domains, HAIR)


@pytest.fixture(scope="module")
def extremes():
    """Pixels at both ends of the range, and a black and a white face, with targets."""
    torch.manual_seed(1)
    x = (torch.rand(4, 3, 32, 32) * 2.4 - 1.2).clamp(-1, 1)
    x[2], x[3] = -1, 1
    return x, target_labels(torch.eye(5)[:4], CONFIG.domains, HAIR)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def moved(editor, x, x_infected, targets):
    with torch.no_grad():
        return (forge(editor, x_infected, targets) - forge(editor, x, targets)).square().mean()


# One perturbation for all faces


def test_every_face_gets_the_same(universal, scene):
    x = 0.5 * scene[0]  # so that nothing is clamped
    change = infect(x, universal(x), EPS) - x
    assert_close(change, change[:1].expand_as(change))
    assert 0.3 * EPS < change.abs().mean() and change.abs().max() <= EPS + 1e-6
    assert universal(x).abs().max() <= 1 and not universal(x).requires_grad


def test_one_for_all_moves_faces_that_it_never_saw(universal, editor, scene):
    x, targets = scene
    by_noise = moved(editor, x, attacks.random_noise(x, EPS, seeded()), targets)
    assert moved(editor, x, infect(x, universal(x), EPS), targets) > 2 * by_noise


def test_the_seed_decides_what_is_found_and_nothing_else(universal, editor, faces):
    torch.rand(7)
    again = find_universal([editor], faces, CONFIG)
    assert torch.equal(universal.delta, again.delta)
    other = find_universal([editor], faces, CONFIG.changed(seed=1))
    assert not torch.equal(universal.delta, other.delta)


def test_surrogates_take_turns(editor, faces):
    seen = []

    def asked(number):
        def forged(x, c):
            seen.append(number)
            return editor(x, c)

        return forged

    find_universal([asked(0), asked(1)], faces, CONFIG.changed(**{"poisoner.iterations": 3}))
    assert seen == [0, 0, 1, 1, 0, 0]  # clean, infected


def test_a_step_goes_up_the_slope_by_its_sign(faces):
    """An editor that does nothing is moved by |delta|, so that every value flees from 0."""
    one = CONFIG.changed(**{"poisoner.iterations": 1, "bf16": False})
    start = 2 * torch.rand(3, 32, 32, generator=seeded(CONFIG.seed)) - 1
    found = find_universal([lambda x, c: x], faces, one, step=0.25).delta
    # where no face of the batch is clamped in the direction of delta
    inside = (faces.batch(0, one.poisoner.batch, one.seed)[0].abs() < 1 - EPS).all(0)
    assert inside.any()
    assert_close(found[inside], (start + 0.25 * start.sign()).clamp(-1, 1)[inside])


def test_it_stands_where_a_pg_does():
    delta = torch.rand(3, 4, 4)
    poison = frozen(UniversalPoison(delta))
    assert torch.equal(poison(torch.zeros(2, 3, 4, 4), seeded()), delta.expand(2, 3, 4, 4))


# Colours alone


@pytest.mark.parametrize("eps", [0.01, EPS])
@pytest.mark.parametrize("kind", ["scene", "extremes"])
def test_colours_stay_in_the_ball_and_the_range(editor, request, kind, eps):
    x, targets = request.getfixturevalue(kind)
    before = x.clone()
    x_infected = lab(editor, x, targets, eps, generator=seeded())
    assert x_infected.shape == x.shape and x_infected.dtype == x.dtype
    assert torch.isfinite(x_infected).all() and not x_infected.requires_grad
    assert (x_infected - x).abs().max() <= eps + 1e-6 and x_infected.abs().max() <= 1
    assert torch.equal(x, before)

    # the generator decides, and nothing else
    torch.rand(7)
    assert torch.equal(x_infected, lab(editor, x, targets, eps, generator=seeded()))
    assert not torch.equal(x_infected, lab(editor, x, targets, eps, generator=seeded(4)))


def lightness(x):
    return rgb_to_lab((x + 1) / 2)[:, 0]


def test_the_lightness_stays_where_the_bound_does_not_bind(editor, scene):
    x, targets = scene
    x = 0.5 * x  # far from pure colours, which have no neighbours of the same lightness
    free = lab(editor, x, targets, 2.0, steps=8, rate=0.5, generator=seeded())
    assert (free - x).abs().max() > EPS
    assert_close(lightness(free), lightness(x), atol=1e-2, rtol=0)  # of 100

    # where it does, nearly: a grey of the same strength is ten times as far
    bound = lab(editor, x, targets, EPS, generator=seeded())
    by_colour = (lightness(bound) - lightness(x)).abs().mean()
    by_grey = (lightness(x + EPS) - lightness(x)).abs().mean()
    assert by_colour < by_grey / 10


def test_a_pixel_beyond_the_bound_keeps_its_direction(editor, scene):
    x, targets = scene
    x = 0.5 * x
    far = lab(editor, x, targets, 2.0, steps=0, rate=10.0, generator=seeded()) - x
    near = lab(editor, x, targets, 0.01, steps=0, rate=2000.0, generator=seeded()) - x
    assert (near.abs().amax(1) > 0.01 - 1e-5).float().mean() > 0.9, "the bound is used up"
    assert torch.cosine_similarity(far, near, dim=1).quantile(0.1) > 0.999


def test_colours_move_the_editor_more_than_noise_does_and_the_more_the_longer(editor, scene):
    x, targets = scene
    few, many = (lab(editor, x, targets, EPS, steps, generator=seeded()) for steps in (2, 20))
    by_noise = moved(editor, x, attacks.random_noise(x, EPS, seeded()), targets)
    assert moved(editor, x, many, targets) > 2 * by_noise
    assert moved(editor, x, many, targets) > moved(editor, x, few, targets)


def test_nothing_is_left_in_the_editor(scene):
    x, targets = scene
    own = fresh_editor()
    lab(own, x, targets, EPS, steps=1, generator=seeded())
    assert all(p.grad is None for p in own.parameters())
