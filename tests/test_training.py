"""The loop that every training shares: rates, history, NaN, PG_best; on a network of one layer."""

import copy
import math
from dataclasses import dataclass

import pytest
import torch
from compare import copied, same
from torch import nn
from torch.testing import assert_close

from idf.checkpoint import Checkpoint
from idf.config import UserError
from idf.training import Run, average, make_accelerator, randomness, stop_at_nan, weights_fixed


@dataclass(kw_only=True)
class Line(Run):
    """A line learns y = 2 x, another one y = -x."""

    network: nn.Module
    other: nn.Module


def make_line(seed=0, lr=1e-2, checkpoint_every=4, bf16=False):
    torch.manual_seed(seed)
    run = Line(
        identity={"seed": seed, "part": {"lr": lr}},
        seed=seed,
        checkpoint_every=checkpoint_every,
        accelerator=make_accelerator(bf16),
        network=nn.Linear(1, 1),
        other=nn.Linear(1, 1),
        best=nn.Linear(1, 1),
    )
    run.prepare({run.network: lr, run.other: 2 * lr})
    return run


def go(run, iterations=12, decay=0.0, **options):
    """Trains up to `iterations`; returns the run and its rates."""
    rates = []
    for _ in run.loop(iterations, decay, quiet=True, **options):
        rates.append([run.optimizers[n].param_groups[0]["lr"] for n in run.networks().values()])
        x = torch.rand(8, 1, generator=run.generator)
        loss = (run.network(x) - 2 * x).square().mean()
        run.step(run.network, loss)
        run.step(run.other, (run.other(x) + x).square().mean())
        run.record({"loss": loss})
        if run.is_due(4):
            run.keep_best(run.network, lambda network: network.weight.sum().item())
    return run, rates


# Rates, randomness


@pytest.mark.parametrize(
    "decay, iteration, factor",
    [(0.5, 0, 1), (0.5, 50, 1), (0.5, 75, 0.5), (0.5, 99, 0.02), (1.0, 25, 0.75), (0.0, 99, 1)]
    + [(0.1, 95, 0.5)],
)
def test_learning_rates_fall_to_zero_over_the_last_share(decay, iteration, factor):
    _, rates = go(make_line(lr=1e-3), 100, decay)
    assert rates[iteration] == pytest.approx([1e-3 * factor, 2e-3 * factor])


def test_every_network_has_an_adam_of_its_own_and_best_has_none():
    run = make_line()
    assert set(run.networks()) == {"network", "other"}
    assert set(run.optimizers) == {run.network, run.other}
    for adam in run.optimizers.values():
        assert type(adam) is torch.optim.Adam and adam.param_groups[0]["betas"] == (0.5, 0.999)


def test_randomness_depends_on_seed_iteration_and_process_alone():
    def draw(seed, iteration, rank):
        return torch.rand(4, generator=randomness(seed, iteration, rank)).tolist()

    runs = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    assert len({tuple(draw(*run)) for run in runs}) == len(runs)
    first = draw(0, 1, 0)
    torch.manual_seed(5)
    assert first == draw(0, 1, 0)


def test_a_step_moves_one_network_alone():
    run = make_line()
    before = copied(run.other)
    run.step(run.network, run.network(torch.ones(1, 1)).sum() + run.other(torch.ones(1, 1)).sum())
    assert same(run.other, before) and not same(run.network, copied(make_line().network))


def test_weights_are_free_again_after_an_error():
    network = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), weights_fixed(network):
        assert not any(p.requires_grad for p in network.parameters())
        raise ZeroDivisionError
    assert all(p.requires_grad for p in network.parameters())


def test_fixed_weights_pass_the_gradient_on():
    network, x = nn.Linear(2, 2), torch.ones(1, 2, requires_grad=True)
    with weights_fixed(network):
        network(x).sum().backward()
    assert x.grad.abs().sum() > 0 and network.weight.grad is None


def test_one_process_averages_nothing():
    tensor = torch.tensor([1.0, 2.0])
    average(make_accelerator(False), [tensor])
    assert tensor.tolist() == [1, 2]


def test_two_trainings_of_different_precision_live_side_by_side():
    runs = [make_line(bf16=bf16) for bf16 in (True, False)]
    types = []
    for run in runs:
        with run.accelerator.autocast():
            types.append(run.network(torch.ones(1, 1)).dtype)
    assert types == [torch.bfloat16, torch.float32]


# The history, and who watches it


@pytest.mark.parametrize(
    "iterations, every, entries",
    [(12, 1000, range(1, 13)), (80, 1000, range(2, 81, 2)), (80, 5, None), (2000, 1000, None)],
)
def test_how_often_the_history_gets_an_entry(iterations, every, entries):
    seen = []
    run = make_line(checkpoint_every=every)
    go(run, iterations, watch=lambda run: seen.append(run.iteration))
    noted = [entry["iteration"] for entry in run.history]
    assert noted == seen and noted[-1] == iterations
    if entries:
        assert noted == list(entries)
    elif every == 5:
        # a checkpoint brings one, too
        assert noted == sorted({*range(2, 81, 2), *range(5, 81, 5)})
    else:
        assert noted == list(range(50, 2001, 50)), "a long training: every 50"


def test_an_entry_holds_the_terms_since_the_last_one():
    run, _ = go(make_line())
    assert all({"iteration", "loss"} <= set(entry) for entry in run.history)
    best = [entry["iteration"] for entry in run.history if "best_distance" in entry]
    assert best == [4, 8, 12] and run.history[-1]["best_distance"] == run.best_distance
    assert all(isinstance(value, int | float) for entry in run.history for value in entry.values())
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_a_round_ends_with_the_training():
    due = []
    run = make_line()
    for _ in run.loop(10, quiet=True):
        due.append(run.is_due(4))
    assert [i + 1 for i, value in enumerate(due) if value] == [4, 8, 10]


def test_progress_and_a_tensorboard_log(tmp_path, capfd):
    run = make_line()
    for _ in run.loop(8, folder=tmp_path):
        run.record({"loss": torch.tensor(1.0)})
        for network in run.networks().values():
            run.step(network, network(torch.ones(1, 1)).sum())
    out, err = capfd.readouterr()
    assert "8/8" in out and not err
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_seconds_are_counted():
    assert go(make_line())[0].seconds > 0


# PG_best


def test_keep_best_keeps_the_larger_and_measures_both_now():
    run = make_line()
    values = {run.best: 5.0, run.network: 1.0}
    run.keep_best(run.network, values.get)
    assert same(run.best, copied(run.network)), "the first is kept, whatever it does"
    assert run.best_distance == 1
    kept = copied(run.best)
    run.network.weight.data += 1
    run.keep_best(run.network, values.get)
    assert same(run.best, kept) and run.best_distance == 5
    values[run.network] = 6.0
    run.keep_best(run.network, values.get)
    assert same(run.best, copied(run.network)) and run.best_distance == 6
    run.network.weight.data += 1
    assert not same(run.best, copied(run.network)), "a copy"


# NaN


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["network", "other"])
def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path, name, value):
    def spoil(run):
        if run.iteration == 5:
            getattr(run, name).weight.data[0] = value

    with pytest.raises(UserError, match="(nan|inf) at iteration .*: training stopped") as error:
        go(make_line(), folder=tmp_path, watch=spoil)
    assert str(tmp_path) in str(error.value) and "lower its lr" in str(error.value)
    tensors, info = Checkpoint(tmp_path).load()
    assert info["iteration"] == 4 and all(value.isfinite().all() for value in tensors.values())
    again, _ = go(make_line(), folder=tmp_path)
    assert_close(again.tensors(), go(make_line())[0].tensors(), rtol=0, atol=0)


def test_weights_spoilt_right_before_a_checkpoint_are_not_saved(tmp_path):
    """An infinite gradient leaves the loss that was just recorded finite."""

    def spoil(run):
        if run.iteration == 8:
            run.other.bias.data[0] = math.inf

    with pytest.raises(UserError, match="weight other.bias became inf at iteration 8"):
        go(make_line(), folder=tmp_path, watch=spoil)
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 4


def test_without_a_folder_nan_says_that_nothing_was_overwritten():
    stop_at_nan({"iteration": 3, "loss": 1.0}, None)
    with pytest.raises(UserError, match="loss became nan at iteration 3.* nothing was overwr"):
        stop_at_nan({"iteration": 3, "loss": math.nan}, None)


# Resuming; whole trainings are in test_resume.py


@pytest.mark.parametrize("stops", [(4,), (3,), (1, 2, 7, 12)])
def test_a_stopped_run_goes_on_bit_identically(tmp_path, stops):
    whole, rates = go(make_line(), decay=0.8)
    seen = []
    for stop in (*stops, None):
        run, part = go(make_line(), decay=0.8, folder=tmp_path, until=stop)
        seen += part
    assert run.iteration == 12 and seen == rates
    assert_close(run.tensors(), whole.tensors(), rtol=0, atol=0)
    assert run.best_distance == whole.best_distance
    assert [e for e in run.history if e["iteration"] > 7] == whole.history[7:]


def test_a_checkpoint_holds_all_that_a_continuation_needs(tmp_path):
    run, _ = go(make_line(), folder=tmp_path)
    tensors, info = Checkpoint(tmp_path).load()
    assert set(tensors) == set(run.tensors())
    assert {name.split(".")[0] for name in tensors} == {"network", "other", "best"}
    assert {"network.adam.0.exp_avg", "network.adam.1.exp_avg_sq", "best.bias"} <= set(tensors)
    keys = {"iteration", "state", "best_distance", "history", "seconds", "identity"}
    assert info.keys() == keys and info["identity"] == run.identity


def test_other_settings_do_not_continue_a_run_and_are_named_in_full(tmp_path):
    go(make_line(), folder=tmp_path, until=4)
    state = copy.deepcopy(Checkpoint(tmp_path).load()[1])
    words = r"holds a training with part\.lr=0\.01, not 0\.02: delete that folder"
    with pytest.raises(UserError, match=words) as error:
        go(make_line(lr=2e-2), folder=tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="holds a training with seed=0, not 1"):
        go(make_line(seed=1), folder=tmp_path)
    assert Checkpoint(tmp_path).load()[1] == state, "and nothing is overwritten"
    assert go(make_line(checkpoint_every=3), 20, folder=tmp_path)[0].iteration == 20
