"""The summary's variant: its losses by hand, its phases, who learns from whom."""

import math

import pytest
import torch
from compare import copied, same, shaken, weights
from torch.testing import assert_close

from idf import losses, metrics, summary
from idf.config import HAIR, load_config
from idf.data.faces import open_faces
from idf.networks import ConditionalPoisonGenerator, make_conditional_poisoner
from idf.summary import AS_WRITTEN, WORKING, Infection, make_training, train

CONFIG = load_config("smoke", **{"poisoner.iterations": 12})
HALF = torch.full((4, 1, 1, 1), 0.5)
K = 3


@pytest.fixture(scope="module")
def faces():
    return open_faces(CONFIG, "surrogate"), open_faces(CONFIG, "validation")


@pytest.fixture(scope="module")
def batch(faces):
    return faces[0].batch(0, 4, 0)


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch):
    """In place of VGG16's features, the pixels."""
    monkeypatch.setattr(metrics, "perceptual_loss", metrics.l2)


def image(*values):
    """One flat 3 x 2 x 2 image per value."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 2, 2).clone()


# PG(x, c)


def test_pg_is_told_the_class(batch):
    torch.manual_seed(0)
    poisoner = make_conditional_poisoner(CONFIG.poisoner, 5).eval()
    x, c = batch
    delta = poisoner(x, c)
    assert isinstance(poisoner, ConditionalPoisonGenerator) and delta.shape == x.shape
    assert delta.abs().max() <= 1 and torch.equal(delta, poisoner(x, c))
    other = c.clone()
    other[0] = 1 - other[0]
    changed = (poisoner(x, other) - delta).abs().amax((1, 2, 3))
    assert changed[0] > 1e-4 and not changed[1:].any(), "in evaluation each face is for itself"


# The losses


def test_imitation_is_the_mean_square():
    y, answer = image(0.1, -0.3), image(0.3, -0.3)
    assert summary.imitation_loss(y, answer).item() == pytest.approx(0.2**2 / 2)


@pytest.mark.parametrize("given", [AS_WRITTEN, WORKING, Infection(2.0, 3.0, 5.0, "clean")])
def test_infection_by_hand(given):
    terms = summary.infection_loss(
        x=image(0.0, 0.5),
        x_infected=image(0.04, 0.5),
        y_infected=image(0.3, 0.2),
        reference=image(0.1, 0.2),
        scores=torch.tensor([[[[1.0, 3.0]]], [[[0.0, 0.0]]]]),
        weights=given,
        perceptual=metrics.l2,
    )
    assert terms["l1"].item() == pytest.approx(0.02)
    assert terms["forgeries"].item() == pytest.approx(0.2**2 / 2)
    assert terms["adv"].item() == pytest.approx(-1.0)
    total = given.lambda_l1 * 0.02 + given.lambda_forgeries * 0.02 - given.lambda_adv
    assert terms["total"].item() == pytest.approx(total)


def test_as_written_x_itself_is_best_and_the_mended_loss_wants_forgeries_apart():
    x, y, scores = image(0.2), image(0.4), torch.zeros(1, 1, 1, 1)

    def total(given, moved):
        terms = summary.infection_loss(x, x + moved, y + 3 * moved, y, scores, given, metrics.l2)
        return terms["total"].item()

    assert AS_WRITTEN == Infection(0.01, 0.01, 0.01, "target")
    assert total(AS_WRITTEN, 0.0) == 0 < total(AS_WRITTEN, 0.05)
    assert total(WORKING, 0.05) < 0 == total(WORKING, 0.0)


@pytest.mark.parametrize("given", [AS_WRITTEN, WORKING])
def test_what_pg_lowers_is_the_infection_loss(batch, given):
    x, c = batch
    run, pg = make_training(CONFIG), CONFIG.poisoner
    target = shaken(run.surrogate)
    with torch.no_grad():
        x_infected = losses.infect(x, run.poisoner(x, c), pg.eps)
        y_infected = run.surrogate(x_infected, c)
        other = target(x_infected, c) if given is AS_WRITTEN else run.surrogate(x, c)
        wanted = given.lambda_l1 * (x_infected - x).abs().mean()
        wanted += given.lambda_forgeries * (y_infected - other).square().mean()
        wanted -= given.lambda_adv * run.d_b(x_infected).mean()
    terms = summary.update_poisoner(run, target, given, x, c)
    assert_close(terms["pg_total"].detach(), wanted)


# Who moves, and when


@pytest.mark.parametrize("name", ["surrogate", "d_b", "poisoner"])
def test_each_update_moves_its_own_network_alone(batch, name):
    x, c = batch
    run = make_training(CONFIG)
    target = shaken(run.surrogate)
    asked = copied(target)
    before = {other: weights(network) for other, network in run.networks().items()}
    assert set(before) == {"surrogate", "d_b", "poisoner"}
    if name == "surrogate":
        terms = summary.update_imitation(run, target, x, c)
    elif name == "d_b":
        terms = summary.update_d_b(run, x, c, HALF)
    else:
        terms = summary.update_poisoner(run, target, AS_WRITTEN, x, c)
    assert terms and all(torch.isfinite(term) for term in terms.values())
    for other, network in run.networks().items():
        assert torch.equal(weights(network), before[other]) == (other != name)
        assert all(p.requires_grad for p in network.parameters())
    assert same(target, asked)


def test_k_steps_of_imitation_then_k_of_infection(faces, monkeypatch):
    assert [summary.imitates(i) for i in (0, 9, 10, 19, 20)] == [True, True, False, False, True]
    assert summary.K == 10
    phases = []
    for name in ("update_imitation", "update_d_b", "update_poisoner"):
        monkeypatch.setattr(summary, name, lambda run, *rest, name=name: phases.append(name) or {})
    train(make_training(CONFIG), *faces, None, k=K, until=8, quiet=True)
    infection = ["update_d_b", "update_poisoner"]
    assert phases == ["update_imitation"] * K + infection * K + ["update_imitation"] * 2


@pytest.mark.parametrize("given", [AS_WRITTEN, WORKING])
def test_a_training_asks_as_often_as_it_says(faces, given):
    run, asked = make_training(CONFIG), []
    target = shaken(run.surrogate)

    def black_box(x, c):
        assert not torch.is_grad_enabled()
        asked.append(len(x))
        return target(x, c)

    train(run, *faces, black_box, given, k=K, quiet=True)
    assert sum(asked) == summary.queries(CONFIG, given, K)
    editor, pg = CONFIG.editor.batch, CONFIG.poisoner.batch
    assert sum(asked) == 6 * editor + (6 * pg if given is AS_WRITTEN else 0)
    recorded = set().union(*run.history)
    assert {"imitation", "d_b", "pg_l1", "pg_forgeries", "pg_adv", "best_distance"} <= recorded


# PG_best


@pytest.mark.parametrize("given, sign", [(AS_WRITTEN, -1), (WORKING, 1)])
def test_pg_best_is_what_the_loss_asks_for(given, sign):
    assert summary.merit(given, lambda poisoner: 0.3, None) == sign * 0.3


def test_forgery_distance_is_l1_over_each_class_with_its_own_poison(batch):
    x, c = batch
    run = make_training(CONFIG)
    before = copied(run.poisoner)
    distance = summary.forgery_distance(run, run.poisoner, x, c)
    assert run.poisoner.training and same(run.poisoner, before)
    changes = []
    with torch.no_grad():
        for c_j in losses.target_labels(c, CONFIG.domains, HAIR):
            x_infected = losses.infect(x, run.poisoner.eval()(x, c_j), CONFIG.poisoner.eps)
            change = run.surrogate(x_infected, c_j) - run.surrogate(x, c_j)
            changes.append(change.abs().mean().item())
    assert math.isclose(distance, sum(changes) / len(changes), rel_tol=1e-4)


@pytest.mark.parametrize(
    "given, term, rises", [(AS_WRITTEN, "l1", False), (WORKING, "forgeries", True)]
)
def test_the_poison_fades_as_the_loss_stands_and_works_where_it_is_mended(
    batch, given, term, rises
):
    run = make_training(CONFIG.changed(**{"poisoner.affine": True, "poisoner.lr": 0.02}))
    seen = []
    for _ in range(25):
        terms = summary.update_poisoner(run, run.surrogate, given, *batch)
        seen.append(terms[f"pg_{term}"].item())
    assert (seen[-1] > 1.2 * seen[0]) if rises else (seen[-1] < 0.8 * seen[0])
