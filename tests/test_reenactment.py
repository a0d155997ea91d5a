"""Scenario 2: the temporary model's gradient, what stage B may move, and resume."""

import copy

import pytest
import torch
from compare import weights
from processes import run_two
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from idf import losses, reenactment
from idf.config import UserError, load_film_config
from idf.data.film import open_film
from idf.data.landmarks import draw_landmarks
from idf.forger import make_reenactor, train_reenactor
from idf.reenactment import (
    make_poison_training,
    temporary_model,
    train_poisoner,
    update_poisoner,
)

CONFIG = load_film_config("smoke")


@pytest.fixture(scope="module")
def frames():
    return open_film(CONFIG)


@pytest.fixture(scope="module")
def parts(frames):
    return frames.part("train"), frames.part("validation")


@pytest.fixture
def batch(frames):
    return draw_landmarks(frames.landmarks[:4], frames.size), frames.x(slice(4))


# The temporary model TM


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, z):
        return torch.tanh(self.norm(self.conv(z)))


@pytest.mark.parametrize("steps", [1, 2])
def test_gradient_through_the_temporary_model_against_finite_differences(steps):
    torch.manual_seed(0)
    config = CONFIG.changed(lr_inner=0.02, inner_steps=steps, round_off=3.0)
    tiny = Tiny().double().train()
    z, x, z_other, x_other = torch.rand(4, 2, 3, 6, 6, dtype=torch.float64) * 2 - 1

    def loss(x_infected):
        parameters = temporary_model(tiny, z, x_infected, config)
        y_infected = functional_call(tiny, parameters, (z_other,))
        return losses.reenactment_influence(x_other, y_infected, x_other)

    assert torch.autograd.gradcheck(loss, x.requires_grad_(True), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("round_off, reaches", [(1e-9, False), (0.5, True)])
def test_plain_l1_would_give_the_poison_no_gradient(batch, round_off, reaches):
    z, x = batch
    network = make_reenactor(CONFIG, "CNet")
    x = x.clone().requires_grad_(True)
    parameters = temporary_model(network, z, x, CONFIG.changed(round_off=round_off))
    loss = functional_call(network, parameters, (z,)).square().mean()
    (slope,) = torch.autograd.grad(loss, x)
    assert (slope.abs().max() > 0) == reaches


def test_the_temporary_model_is_one_step_of_sgd(batch):
    z, x = batch
    network = make_reenactor(CONFIG, "Res6")
    twin, before = copy.deepcopy(network), weights(network)
    parameters = temporary_model(network, z, x, CONFIG)
    sgd = torch.optim.SGD(twin.parameters(), lr=CONFIG.poisoner.lr_inner)
    reenactment.training_loss(twin(z), x, CONFIG).backward()
    sgd.step()
    for name, value in twin.named_parameters():
        assert_close(parameters[name], value)
    assert torch.equal(weights(network), before)


def test_the_temporary_model_has_statistics_of_its_own(batch):
    z, x = batch
    network = make_reenactor(CONFIG, "UNet256").train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    parameters = temporary_model(network, z, x, CONFIG)
    functional_call(network, parameters, (z,))
    after = dict(network.named_buffers())
    assert before and all(torch.equal(after[name], value) for name, value in before.items())


# Stage B


def test_stage_b_moves_pg_and_hands_tm_to_the_infected_model(batch):
    z, x = batch
    run = make_poison_training(CONFIG.changed(network="Res6"))
    before = {name: weights(network) for name, network in run.networks().items()}
    with torch.no_grad():
        delta = copy.deepcopy(run.poisoner)(x)
        x_infected = losses.infect(x, delta, CONFIG.poisoner.eps)
    expected = temporary_model(copy.deepcopy(run.infected), z, x_infected, run.config)

    update_poisoner(run, z, x, z.flip(0), x.flip(0), 1.0)
    for name, parameter in run.infected.named_parameters():
        assert_close(parameter, expected[name], rtol=1e-4, atol=1e-6)
        assert parameter.is_leaf and parameter.grad is None, "copied, without its graph"
    networks = run.networks().items()
    moved = {name for name, net in networks if not torch.equal(weights(net), before[name])}
    assert moved == {"poisoner", "infected"}


def test_the_loss_of_pg_is_eq_11_with_its_mask(batch, monkeypatch):
    """On other frames than TM learned from, SM beside it, and D_B's term."""
    z, x = batch
    z, z_other, x, x_other = z[:2], z[2:], x[:2], x[2:]
    run = make_poison_training(CONFIG.changed(network="Res6", lambda_adv=0.5))
    mask = torch.rand(2, 1, 32, 32)
    poisoner, m = copy.deepcopy(run.poisoner), copy.deepcopy(run.infected)
    stepped = []
    step = run.step
    monkeypatch.setattr(run, "step", lambda net, loss: stepped.append(loss) or step(net, loss))
    terms = update_poisoner(run, z, x, z_other, x_other, mask)

    x_infected = losses.infect(x, poisoner(x), CONFIG.poisoner.eps)
    temporary = temporary_model(m, z, x_infected, run.config)
    y, y_infected = run.surrogate(z_other), functional_call(m, temporary, (z_other,))
    influence = ((y - x_other).abs() * mask).mean() - ((y_infected - x_other).abs() * mask).mean()
    adv = -run.d_b(x_infected).mean()
    assert_close(terms["pg_influence"], influence, rtol=1e-4, atol=1e-6)
    assert_close(terms["pg_adv"], adv, rtol=1e-4, atol=1e-6)
    assert_close(stepped, [influence + 0.5 * adv], rtol=1e-4, atol=1e-6)


def test_d_b_and_the_infected_model_move_alone(batch):
    z, x = batch
    for update, names in (
        (lambda run: reenactment.update_d_b(run, x[:2], torch.full((2, 1, 1, 1), 0.5)), {"d_b"}),
        (lambda run: reenactment.update_infected(run, z, x), {"infected", "d_infected"}),
    ):
        run = make_poison_training(CONFIG)
        before = {name: weights(network) for name, network in run.networks().items()}
        assert all(value.isfinite() for value in update(run).values())
        networks = run.networks().items()
        moved = {name for name, net in networks if not torch.equal(weights(net), before[name])}
        assert moved == names


def test_a_pg_whose_amplitude_is_free_by_setting():
    for free in (False, True):
        run = make_poison_training(CONFIG.changed(affine=free))
        assert run.poisoner.last[1].affine is free


@pytest.mark.parametrize("alternate", [True, False])
def test_frames_that_judge_tm_are_not_those_it_learned(parts, monkeypatch, alternate):
    seen = []

    def note(run, z, x, z_other, x_other, mask):
        seen.append((x, x_other))
        return {}

    monkeypatch.setattr(reenactment, "update_poisoner", note)
    config = CONFIG.changed(**{"poisoner.iterations": 20, "follow": 0})
    surrogate = None if alternate else make_reenactor(config)
    train_poisoner(config, *parts, surrogate=surrogate, quiet=True, until=None if alternate else 5)
    assert len(seen) == (20 if alternate else 5)
    for x, x_other in seen:
        assert len(x) == len(x_other) == CONFIG.poisoner.batch
        assert not any(torch.equal(a, b) for a in x for b in x_other)


@pytest.mark.parametrize("masked", [True, False])
def test_the_mask_of_the_judging_frames_is_handed_on(parts, monkeypatch, masked):
    train, seen = parts[0], []
    masks = torch.arange(len(train)).view(-1, 1, 1, 1).expand(-1, 1, 32, 32).float()

    def note(run, z, x, z_other, x_other, mask):
        seen.append((x_other, mask))
        return {}

    monkeypatch.setattr(reenactment, "update_poisoner", note)
    train_poisoner(CONFIG.changed(masked=masked), *parts, masks, until=2, quiet=True)
    for x_other, mask in seen:
        if masked:
            assert torch.equal(train.x(mask[:, 0, 0, 0].long()), x_other)
        else:
            assert mask == 1


@pytest.mark.parametrize("follow", [0, 2])
def test_the_infected_model_follows_so_many_steps(parts, monkeypatch, follow):
    followed = []
    monkeypatch.setattr(
        reenactment, "update_infected", lambda run, z, x: followed.append(run.iteration) or {}
    )
    train_poisoner(CONFIG.changed(follow=follow), *parts, until=3, quiet=True)
    assert followed == sorted([0, 1, 2] * follow)


def test_the_surrogate_is_but_a_yardstick(parts, monkeypatch):
    """Eq. 11 as printed: SM's term is the same for every PG, so another SM gives the same PG."""
    poisoners, surrogates = [], []
    make = make_poison_training
    for shake in (0.0, 0.1):

        def shaken(*given, shake=shake):
            run = make(*given)
            with torch.no_grad():
                for parameter in run.surrogate.parameters():
                    parameter.add_(shake)
            return run

        monkeypatch.setattr(reenactment, "make_poison_training", shaken)
        run = train_poisoner(CONFIG, *parts, until=2, quiet=True)
        poisoners.append(weights(run.poisoner))
        surrogates.append(weights(run.surrogate))
    assert torch.equal(*poisoners) and not torch.equal(*surrogates)


def test_without_alternation_the_surrogate_stays(parts):
    surrogate = train_reenactor(CONFIG, parts[0], 0, quiet=True).network
    before = weights(surrogate)
    run = train_poisoner(CONFIG, *parts, surrogate=surrogate, quiet=True)
    assert torch.equal(weights(run.surrogate), before)
    recorded = set().union(*run.history)
    assert "surrogate_l1" not in recorded and {"pg_influence", "infected_l1"} <= recorded
    begun = make_poison_training(CONFIG, surrogate)
    # in Eq. 11 SM alone moves nothing, so M' starts from the finished SM
    assert torch.equal(weights(begun.infected), before)
    assert begun.infected is not surrogate


def test_pg_best_is_measured_with_equal_dropout():
    config = CONFIG.changed(size=64)  # below, UNet256 has no dropout
    run, film = make_poison_training(config), open_film(config)
    assert any(isinstance(m, nn.Dropout) for m in run.infected.modules())
    z, x = draw_landmarks(film.landmarks[:8], 64), film.x(slice(8))
    run.poisoner.train()
    first = reenactment.influence_of(run, run.poisoner, z, x)
    torch.rand(5)
    assert reenactment.influence_of(run, run.poisoner, z, x) == first
    assert run.poisoner.training
    other = make_poison_training(config.changed(seed=1))
    assert reenactment.influence_of(other, run.poisoner, z, x) != first


# Whole trainings


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"inner_steps": 2},
        {"follow": 0, "masked": False},
        {"bf16": True},
        {"size": 64},  # only there has UNet256 dropout
    ],
    ids=str,
)
def test_a_poison_training_resumes_bit_for_bit(parts, tmp_path, changes):
    config = CONFIG.changed(**changes)
    if "size" in changes:
        film = open_film(config)
        parts = film.part("train"), film.part("validation")
    masks = torch.ones(len(parts[0]), 1, config.size, config.size)
    whole = train_poisoner(config, *parts, masks, folder=tmp_path / "whole", quiet=True)
    train_poisoner(config, *parts, masks, folder=tmp_path / "broken", until=4, quiet=True)
    again = train_poisoner(config, *parts, masks, folder=tmp_path / "broken", quiet=True)
    assert_close(again.tensors(), whole.tensors(), rtol=0, atol=0)
    assert again.history == whole.history and again.best_distance == whole.best_distance
    assert {"pg_influence", "pg_adv", "d_b", "surrogate_l1"} <= set().union(*whole.history)


def test_other_settings_do_not_continue_a_poison_training(parts, tmp_path):
    train_poisoner(CONFIG, *parts, folder=tmp_path, until=1, quiet=True)
    words = "holds a training with poisoner.eps=0.02, not 0.03: delete that folder"
    with pytest.raises(UserError, match=words):
        train_poisoner(CONFIG.changed(eps=0.03), *parts, folder=tmp_path, quiet=True)


TWO_PROCESSES = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from idf.config import load_film_config
from idf.data.film import open_film
from idf.reenactment import train_poisoner

config = load_film_config("smoke", **{"poisoner.iterations": 3})
film, folder = open_film(config), Path(sys.argv[1])
parts = film.part("train"), film.part("validation")
run = train_poisoner(config, *parts, folder=folder / "run", quiet=True)
weights = {}
for name, network in (run.networks() | {"best": run.best}).items():
    state = network.state_dict().items()
    weights |= {f"{name}.{key}": value.detach().clone() for key, value in state}
save_file(weights, folder / f"rank{run.accelerator.process_index}.safetensors")
"""


def test_two_processes_poison_together(tmp_path):
    run_two(TWO_PROCESSES, tmp_path)
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert_close(first, second, rtol=0, atol=0)
    assert (tmp_path / "run" / "checkpoint.json").is_file()
