"""x' by a method's name: each calls what its row in the table says, on the context's networks."""

import pytest
import torch
from torch.testing import assert_close

from idf import attacks, losses, peers
from idf.config import HAIR, UserError, load_config
from idf.data.faces import open_faces
from idf.methods import METHODS, Context, of_scenario, protection
from idf.networks import PoisonGenerator, frozen, make_conditional_poisoner, make_generator
from idf.peers import UniversalPoison

CONFIG = load_config("smoke")
EPS = 0.03
UNCHANGED = {"clean", "reseed", "wrong-pairs"}


@pytest.fixture(scope="module")
def context():
    torch.manual_seed(0)
    editors = [frozen(make_generator("Res6", 5, 4, 32)) for _ in range(2)]
    starts = ("ours", "keyless", "untrained-pg", "one-pass")
    names = [name for name in METHODS if name.startswith(starts)]
    poisoners = {name: frozen(PoisonGenerator(4, 3)) for name in names}
    poisoners["universal"] = frozen(UniversalPoison(torch.rand(3, 32, 32) * 2 - 1))
    for name in ("summary", "summary-working"):
        poisoners[name] = frozen(make_conditional_poisoner(CONFIG.poisoner, 5))
    return Context(
        seed=CONFIG.seed,
        poisoners=poisoners,
        surrogate=editors[0],
        surrogate_domains=CONFIG.domains,
        target=editors[1],
        target_domains=CONFIG.domains[::-1],
    )


@pytest.fixture(scope="module")
def batch():
    _, x, c = next(open_faces(CONFIG, "test", limit=4).in_order(4))
    return x, c


@pytest.mark.parametrize("name", [name for name, one in METHODS.items() if one.make])
def test_every_method_keeps_to_the_ball_and_repeats_itself(context, batch, name):
    x, c = batch
    protect = protection(name, context, EPS)
    x_infected = protect(x, c, 0)
    change = (x_infected - x).abs().max()
    assert change == 0 if name in UNCHANGED else 0 < change <= EPS + 1e-6
    assert x_infected.abs().max() <= 1 and not x_infected.requires_grad
    assert torch.equal(x_infected, protect(x, c, 0))


@pytest.mark.parametrize("name", ["ours", "ours-no-ats", "one-pass", "universal"])
def test_a_method_of_ours_uses_its_own_poisoner(context, batch, name):
    x, c = batch
    expected = losses.infect(x, context.poisoners[name](x), EPS)
    assert_close(protection(name, context, EPS)(x, c, 0), expected)


def test_a_pg_that_is_told_the_class_makes_an_x_for_each(context, batch):
    x, c = batch
    poisoner = context.poisoners["summary"]
    x_infected = protection("summary", context, EPS)(x, c, 0)
    targets = losses.target_labels(c, CONFIG.domains, HAIR)
    assert x_infected.shape == (5, *x.shape)
    for own, c_j in zip(x_infected, targets, strict=True):
        assert_close(own, losses.infect(x, poisoner(x, c_j), EPS))
    assert not torch.equal(x_infected[0], x_infected[1])


def seeded(number=0):
    return torch.Generator().manual_seed(CONFIG.seed * 1_000_003 + number)


@pytest.mark.parametrize(
    "name, attack", [("ruiz", attacks.pgd), ("i-fgsm", attacks.i_fgsm), ("lab", peers.lab)]
)
def test_a_transferred_attack_is_on_the_surrogate(context, batch, name, attack):
    x, c = batch
    targets = losses.target_labels(c, CONFIG.domains, HAIR)
    expected = attack(context.surrogate, x, targets, EPS, generator=seeded())
    assert_close(protection(name, context, EPS)(x, c, 0), expected)


def test_the_white_box_attack_is_on_the_forgers_editor_and_domains(context, batch):
    x, c = batch
    targets = losses.target_labels(c, context.target_domains, HAIR)
    expected = attacks.pgd(context.target, x, targets, EPS, generator=seeded())
    assert_close(protection("ruiz-white-box", context, EPS)(x, c, 0), expected)


def test_the_controls_by_their_names(context, batch):
    x, c = batch
    for name, control in (
        ("random-noise", attacks.random_noise),
        ("random-colour", attacks.random_colour),
    ):
        protect = protection(name, context, EPS)
        assert_close(protect(x, c, 5), control(x, EPS, seeded(5)))
        assert not torch.equal(protect(x, c, 1), protect(x, c, 0)), "each batch has its own"
    assert_close(protection("brightened", context, EPS)(x, c, 0), attacks.brightened(x, EPS))


@pytest.mark.parametrize("name", ["fine-pattern", "coarse-pattern"])
def test_one_pattern_is_the_same_in_every_frame(context, batch, name):
    x = batch[0] * 0.5  # so that nothing is clamped
    change = protection(name, context, EPS)(x) - x
    assert_close(change, change[:1].expand_as(change))
    assert_close(change.abs(), torch.full_like(change, EPS))
    later = protection(name, context, EPS)(x, None, 7) - x
    assert torch.equal(later, change)


def test_a_films_batches_draw_on(context, batch):
    x, _ = batch
    film = Context(generator=torch.Generator().manual_seed(4))
    protect = protection("random-noise", film, EPS)
    same = torch.Generator().manual_seed(4)
    for _ in range(2):
        assert torch.equal(protect(x), attacks.random_noise(x, EPS, same))


def test_every_method_of_a_scenario_is_made_or_is_said_to_be_stored(context):
    for number in (1, 2):
        stored = [name for name, one in of_scenario(number).items() if one.make is None]
        assert stored == ([] if number == 1 else ["moved-landmarks"])
    with pytest.raises(UserError, match="^moved-landmarks is not made here: its stored rows"):
        protection("moved-landmarks", context, EPS)
    with pytest.raises(UserError, match="^Unknown method 'ruis': use one of ours, ours-no-ats, "):
        protection("ruis", context, EPS)
