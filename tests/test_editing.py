"""Algorithm 1: who learns from whom and when, Eq. 12, PG_best."""

import copy

import pytest
import torch
from compare import copied, same, shaken, weights
from processes import run_two
from safetensors.torch import load_file
from torch.testing import assert_close

from idf import editing, losses
from idf.checkpoint import Checkpoint
from idf.config import HAIR, UserError, load_config
from idf.data.faces import open_faces
from idf.editing import make_training, train, train_editor, train_target
from idf.training import randomness

LENGTHS = {"editor.iterations": 8, "poisoner.iterations": 8}
CONFIG = load_config("smoke", n_critic=2, validate_every=4, **LENGTHS, **{"poisoner.every": 2})
HALF = torch.full((4, 1, 1, 1), 0.5)  # alpha of the gradient penalties


@pytest.fixture(scope="module")
def faces():
    return open_faces(CONFIG, "surrogate"), open_faces(CONFIG, "validation")


@pytest.fixture(scope="module")
def batch(faces):
    return faces[0].batch(0, 4, 0)


@pytest.fixture(scope="module")
def trained(faces):
    """Algorithm 1 from its start to its end."""
    return train(make_training(CONFIG), *faces, quiet=True)


@pytest.fixture(scope="module")
def editor_alone(faces):
    """The same seed, without stage B."""
    return train_target(make_training(CONFIG), faces[0], quiet=True)


def before_of(run):
    return copy.deepcopy(run.surrogate), copy.deepcopy(run.d_a)


# Who moves


@pytest.mark.parametrize("name", ["d_a", "surrogate", "d_b", "poisoner"])
def test_each_update_moves_its_own_network_alone(batch, name):
    x, c = batch
    run = make_training(CONFIG)
    before = {other: weights(network) for other, network in run.networks().items()}
    if name == "d_a":
        terms = editing.update_d_a(run, x, c, c.flip(0), HALF)
    elif name == "surrogate":
        terms = editing.update_editor(run, x, c, c.flip(0))
    elif name == "d_b":
        terms = editing.update_d_b(run, x, HALF)
    else:
        terms = editing.update_poisoner(run, x, c, before_of(run))
    assert terms and all(torch.isfinite(term) for term in terms.values())
    for other, network in run.networks().items():
        assert torch.equal(weights(network), before[other]) == (other != name)
        assert all(p.requires_grad for p in network.parameters())


def test_stage_b_leaves_the_surrogate_and_its_critic_bit_identical(batch):
    x, c = batch
    run = make_training(CONFIG)
    before = copied(run.surrogate), copied(run.d_a)
    for _ in range(3):
        editing.update_d_b(run, x, HALF)
        editing.update_poisoner(run, x, c, before_of(run))
    assert same(run.surrogate, before[0]) and same(run.d_a, before[1])
    for network in (run.surrogate, run.d_a):
        assert not run.optimizers[network].state
        assert all(p.grad is None for p in network.parameters())


def test_the_surrogate_never_sees_the_poison(trained, editor_alone):
    fresh = make_training(CONFIG)
    assert same(trained.surrogate, copied(editor_alone.surrogate))
    assert same(trained.d_a, copied(editor_alone.d_a))
    assert not same(trained.surrogate, copied(fresh.surrogate))
    assert not same(trained.poisoner, copied(fresh.poisoner))
    assert same(editor_alone.poisoner, copied(fresh.poisoner))


def test_stage_b_alone_keeps_a_given_surrogate(faces):
    given = make_training(load_config("smoke", seed=9))
    surrogate, d_a = copy.deepcopy(given.surrogate).eval(), copy.deepcopy(given.d_a)
    run = make_training(CONFIG, surrogate, d_a)
    train(run, *faces, stage_a=None, quiet=True)
    assert run.surrogate is surrogate
    assert same(surrogate, copied(given.surrogate)) and same(d_a, copied(given.d_a))
    assert not same(run.poisoner, copied(make_training(CONFIG).poisoner))


def test_networks_are_trained_at_their_own_rates():
    rates = {"editor.lr": 1e-3, "lr_d": 2e-3, "poisoner.lr": 3e-3, "lr_d_b": 4e-3}
    run = make_training(load_config("smoke", **rates))
    asked = {"surrogate": 1e-3, "d_a": 2e-3, "poisoner": 3e-3, "d_b": 4e-3}
    for name, network in run.networks().items():
        group = run.optimizers[network].param_groups[0]
        assert group["lr"] == group["initial_lr"] == asked[name]
        assert group["betas"] == (0.5, 0.999)


def test_an_unknown_editor_is_named():
    with pytest.raises(UserError, match="Unknown network 'Res7': use one of Res6, Res9, CNet"):
        make_training(CONFIG, network="Res7")


# When


@pytest.mark.parametrize("n_critic", [1, 3])
def test_the_editor_learns_every_n_critic_th_time(faces, monkeypatch, n_critic):
    config = CONFIG.changed(n_critic=n_critic)
    learned = []
    monkeypatch.setattr(
        editing, "update_editor", lambda run, *batch: learned.append(run.iteration) or {}
    )
    run = train_target(make_training(config), faces[0], quiet=True)
    assert [i + 1 for i in learned] == list(range(n_critic, 9, n_critic))
    assert all("d_a_adv" in entry for entry in run.history), "D_A learns every time"


@pytest.mark.parametrize("every, n_critic", [(1, 2), (2, 2), (1, 1), (3, 1)])
def test_the_predecessor_is_the_last_iterations(faces, monkeypatch, every, n_critic):
    """L' gets SM and D_A as they were before this iteration's own updates."""
    config = CONFIG.changed(n_critic=n_critic, **{"poisoner.every": every})
    started, seen = {}, {}

    def watched(run, *batch):
        started[run.iteration] = copied(run.surrogate), copied(run.d_a)
        return train_editor(run, *batch)

    def note(run, x, c, before):
        seen[run.iteration] = tuple(copied(network) for network in before)
        assert not any(p.requires_grad for network in before for p in network.parameters())
        return {}

    monkeypatch.setattr(editing, "update_poisoner", note)
    train(make_training(config), *faces, watched, until=4, quiet=True)
    assert list(seen) == list(range(0, 4, every)), "stage B runs in every `every`-th iteration"
    for iteration, before in seen.items():
        assert_close(before, started[iteration], rtol=0, atol=0)


@pytest.mark.parametrize("batch_a, batch_b", [(4, 2), (2, 4), (4, 4)])
def test_each_stage_takes_its_own_number_of_one_draws_first_faces(
    faces, monkeypatch, batch_a, batch_b
):
    config = CONFIG.changed(**{"editor.batch": batch_a, "poisoner.batch": batch_b})
    seen = {}

    def stage_a(run, *batch):
        seen["a"] = batch
        return {}

    def note_d_b(run, x, alpha):
        seen["d_b"] = x, alpha
        return {}

    def note_poisoner(run, x, c, before):
        seen["pg"] = x, c
        return {}

    monkeypatch.setattr(editing, "update_d_b", note_d_b)
    monkeypatch.setattr(editing, "update_poisoner", note_poisoner)
    run = train(make_training(config), *faces, stage_a, until=1, quiet=True)

    run.iteration, run.generator = 0, randomness(run.seed, 0, 0)
    x, c, c_trg, alpha_a, alpha_b = editing.draw(run, faces[0], 4)
    a, b = slice(batch_a), slice(batch_b)
    assert_close(seen["a"], (x[a], c[a], c_trg[a], alpha_a[a]), rtol=0, atol=0)
    assert_close(seen["d_b"], (x[b], alpha_b[b]), rtol=0, atol=0)
    assert_close(seen["pg"], (x[b], c[b]), rtol=0, atol=0)


def test_a_draw_is_a_batch_with_its_labels_permuted(faces):
    run = make_training(CONFIG)
    run.generator = randomness(0, 0, 0)
    x, c, c_trg, *alphas = editing.draw(run, faces[0], 6)
    assert_close((x, c), faces[0].batch(0, 6, CONFIG.seed), rtol=0, atol=0)
    assert sorted(c_trg.tolist()) == sorted(c.tolist())
    assert all(a.shape == (6, 1, 1, 1) and 0 <= a.min() and a.max() <= 1 for a in alphas)


def test_algorithm_1_and_stage_a_alone_have_lengths_of_their_own(faces):
    config = CONFIG.changed(**{"editor.iterations": 3, "poisoner.iterations": 2})
    assert train(make_training(config), *faces, quiet=True).iteration == 2
    assert train_target(make_training(config), faces[0], quiet=True).iteration == 3


def test_algorithm_1_and_stage_a_alone_have_decays_of_their_own(faces):
    """The rate of the last of 8 iterations, as a share of the first's."""
    config = CONFIG.changed(**{"editor.decay": 0.5, "poisoner.decay": 0.25})
    shares = []
    for run in (
        train(make_training(config), *faces, quiet=True),
        train_target(make_training(config), faces[0], quiet=True),
    ):
        group = run.optimizers[run.surrogate].param_groups[0]
        shares.append(group["lr"] / group["initial_lr"])
    assert shares == [1 / 8 / 0.25, 1 / 8 / 0.5]


def test_history_and_watch(faces, trained, editor_alone):
    stage_b = {"d_b", "pg_bs", "pg_cyc", "pg_dom", "pg_total", "pg_distance", "pg_adv"}
    stage_a = {"d_a_adv", "d_a_cls", "d_a_gp"}
    history = trained.history
    assert [entry["iteration"] for entry in history] == list(range(1, 9))
    assert set(history[0]) == {"iteration"} | stage_a | stage_b
    assert set(history[1]) == {"iteration", "sm_adv", "sm_cls", "sm_rec"} | stage_a
    measured = [entry["iteration"] for entry in history if "best_distance" in entry]
    assert measured == [4, 8] and history[-1]["best_distance"] == trained.best_distance
    assert not any(set(entry) & stage_b for entry in editor_alone.history)


# The loss of PG


def poisoner_gradients(run, x, c, before):
    run.poisoner.zero_grad()
    loss, terms = editing.poisoner_loss(run, x, c, before)
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in run.poisoner.parameters()], terms


def test_one_pass_for_l_and_its_predecessor_equals_two(batch, monkeypatch):
    run = make_training(CONFIG)
    d_a = shaken(run.d_a)
    before = copy.deepcopy(run.surrogate), d_a
    assert editing.same_weights(before[0], run.surrogate)
    shared = poisoner_gradients(run, *batch, before)
    alone = poisoner_gradients(run, *batch, None)

    monkeypatch.setattr(editing, "same_weights", lambda a, b: False)
    twice = poisoner_gradients(run, *batch, before)
    assert_close(shared[0], twice[0], rtol=1e-6, atol=1e-6)
    assert_close(shared[1], twice[1], rtol=1e-4, atol=1e-6)
    assert abs(shared[0] - 2 * alone[0]) > 1e-3, "the last iteration's D_A does count"


def test_the_forgeries_are_shared_only_where_the_surrogate_is_the_same(batch, monkeypatch):
    run, passes = make_training(CONFIG), []
    influence_loss = losses.influence_loss

    def counted(surrogate, critics, *rest):
        passes.append(len(critics))
        return influence_loss(surrogate, critics, *rest)

    monkeypatch.setattr(losses, "influence_loss", counted)
    editing.poisoner_loss(run, *batch, before_of(run))
    editing.poisoner_loss(run, *batch, (shaken(run.surrogate), run.d_a))
    editing.poisoner_loss(run, *batch, None)
    assert passes == [2, 1, 1, 1]


def test_same_weights_is_bit_for_bit():
    network = torch.nn.Linear(2, 2)
    other = copy.deepcopy(network)
    assert editing.same_weights(network, other)
    other.bias.data[1] += 1e-6
    assert not editing.same_weights(network, other)


def test_poisoner_loss_is_equation_12(batch):
    x, c = batch
    run, pg = make_training(CONFIG), CONFIG.poisoner
    before = shaken(run.surrogate), shaken(run.d_a, 1)
    loss, _, terms = poisoner_gradients(run, x, c, before)

    targets = losses.target_labels(c, CONFIG.domains, HAIR)
    x_infected = losses.infect(x, run.poisoner(x), 0.05)
    lambdas = (pg.lambda_bs, pg.lambda_cyc, pg.lambda_dom)
    total = -0.01 * run.d_b(x_infected).mean()
    for surrogate, d_a in ((run.surrogate, run.d_a), before):
        influence = losses.influence_loss(surrogate, [d_a], x, c, x_infected, targets, lambdas)
        total = total + influence["total"]
    assert_close(loss, total.detach(), rtol=1e-5, atol=1e-5)
    assert set(terms) == {"bs", "cyc", "dom", "total", "distance", "adv"}


@pytest.mark.parametrize("moved", [False, True])  # has SM, since the last iteration?
def test_the_published_codes_sum_counts_l_twice(batch, moved, monkeypatch):
    """Its sums run on into L': 2 L + L', where Eq. 12 has L + L'. By hand: L = 3, L' = 5."""
    config = CONFIG.changed(summed=True, lambda_adv=0.0)
    run = make_training(config)
    before = shaken(run.surrogate) if moved else copy.deepcopy(run.surrogate), shaken(run.d_a)

    def known(surrogate, critics, x, c, x_infected, *rest):
        values = [5.0 if critic is before[1] else 3.0 for critic in critics]
        return {"total": torch.tensor(sum(values) / len(values)) + 0 * x_infected.sum()}

    monkeypatch.setattr(losses, "influence_loss", known)
    assert editing.poisoner_loss(run, *batch, before)[0].item() == pytest.approx(2 * 3 + 5)
    assert editing.poisoner_loss(run, *batch, None)[0].item() == pytest.approx(3)
    run.config = config.changed(summed=False)
    assert editing.poisoner_loss(run, *batch, before)[0].item() == pytest.approx(3 + 5)


def test_the_published_codes_sum_is_that_of_the_terms(batch):
    x, c = batch
    run, pg = make_training(CONFIG.changed(summed=True)), CONFIG.poisoner
    lambdas = (pg.lambda_bs, pg.lambda_cyc, pg.lambda_dom)
    for before in (before_of(run)[0], shaken(run.d_a)), (shaken(run.surrogate), shaken(run.d_a)):
        loss, _, _ = poisoner_gradients(run, x, c, before)
        targets = losses.target_labels(c, CONFIG.domains, HAIR)
        x_infected = losses.infect(x, run.poisoner(x), pg.eps)
        total = -pg.lambda_adv * run.d_b(x_infected).mean()
        for (surrogate, d_a), times in (((run.surrogate, run.d_a), 2), (before, 1)):
            influence = losses.influence_loss(surrogate, [d_a], x, c, x_infected, targets, lambdas)
            total = total + times * influence["total"]
        assert_close(loss, total.detach(), rtol=1e-5, atol=1e-5)


def test_the_weights_of_the_loss_are_settings(batch):
    own = dict(lambda_bs=3, lambda_cyc=0.0, lambda_dom=2, lambda_adv=5)
    loss, _, terms = poisoner_gradients(make_training(CONFIG.changed(**own)), *batch, None)
    assert_close(loss, (3 * terms["bs"] + 2 * terms["dom"] + 5 * terms["adv"]).detach())
    plain, _, _ = poisoner_gradients(make_training(CONFIG), *batch, None)
    per_sample = make_training(CONFIG.changed(mu_per_sample=True))
    assert not torch.equal(plain, poisoner_gradients(per_sample, *batch, None)[0])


def test_the_predecessor_is_a_setting(faces, monkeypatch):
    seen = []
    monkeypatch.setattr(
        editing, "update_poisoner", lambda run, x, c, before: seen.append(before) or {}
    )
    config = CONFIG.changed(previous=False)
    train(make_training(config), *faces, until=1, quiet=True)
    assert seen == [None]


# PG_best


def silence(poisoner):
    """PG's head becomes such that in evaluation mode delta is 0."""
    poisoner.last[0].weight.data.zero_()
    poisoner.last[1].running_mean.zero_()


def keep_best(run, x, c):
    run.keep_best(run.poisoner, lambda p: editing.forgery_distance(run, p, x, c))


def test_keep_best_keeps_the_larger_distance(batch):
    run = make_training(CONFIG)
    keep_best(run, *batch)  # the first is kept, whatever it does
    kept, first = copied(run.best), run.best_distance
    assert same(run.poisoner, kept) and first > 0
    silence(run.poisoner)
    keep_best(run, *batch)
    assert same(run.best, kept) and run.best_distance == pytest.approx(first)


def test_keep_best_measures_again_on_todays_surrogate(batch):
    run = make_training(CONFIG)
    silence(run.best)
    run.best_distance = 99.0  # of an older surrogate
    keep_best(run, *batch)
    assert same(run.best, copied(run.poisoner))
    now = editing.forgery_distance(run, run.poisoner, *batch)
    assert run.best_distance == now > 0


def test_forgery_distance_is_l1_in_evaluation_mode(batch):
    x, c = batch
    run = make_training(CONFIG)
    before = copied(run.poisoner)
    distance = editing.forgery_distance(run, run.poisoner, x, c)
    assert run.poisoner.training and same(run.poisoner, before)

    x_infected = (x + 0.05 * run.poisoner.eval()(x)).clamp(-1, 1)
    changes = []
    for target in losses.target_labels(c, CONFIG.domains, HAIR):
        change = run.surrogate(x, target) - run.surrogate(x_infected, target)
        changes.append(change.abs().mean().item())
    assert distance == pytest.approx(sum(changes) / 5, rel=1e-4)


# Precision and processes


def test_bf16_trains_too(faces):
    config = load_config("smoke", bf16=True, **{"poisoner.iterations": 4})
    run = train(make_training(config), *faces, quiet=True)
    assert run.history[-2]["pg_distance"] > 0
    for network in run.networks().values():
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in network.parameters())


TWO_PROCESSES = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from idf.checkpoint import Checkpoint
from idf.config import load_config
from idf.data.faces import open_faces
from idf.editing import make_training, train

folder, config = Path(sys.argv[1]), load_config("smoke", **{"poisoner.iterations": 4})
run = make_training(config)
saved, save = [], Checkpoint.save
Checkpoint.save = lambda self, i, *rest: saved.append(i) or save(self, i, *rest)
faces = open_faces(config, "surrogate"), open_faces(config, "validation")
train(run, *faces, folder=folder / "run", quiet=True)

rank = run.accelerator.process_index
weights = {}
for name, network in run.networks().items():
    weights |= {f"{name}.{key}": p.detach().clone() for key, p in network.named_parameters()}
save_file(weights, folder / f"rank{rank}.safetensors")

run.step(run.d_b, (rank + 1) * sum(p.sum() for p in run.d_b.parameters()))
means = {round(v, 6) for p in run.d_b.parameters() for v in p.grad.flatten().tolist()}
(folder / f"rank{rank}.txt").write_text(f"{run.accelerator.num_processes} {saved} {means}")
"""


def test_two_processes(faces, tmp_path):
    run_two(TWO_PROCESSES, tmp_path)
    # each rank's gradient is (rank + 1) everywhere, so their mean is 1.5; rank 0 alone saves
    assert (tmp_path / "rank0.txt").read_text() == "2 [4] {1.5}"
    assert (tmp_path / "rank1.txt").read_text() == "2 [] {1.5}"
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert_close(first, second, rtol=0, atol=0)
    assert all(value.isfinite().all() for value in first.values())

    config = load_config("smoke", **{"poisoner.iterations": 4})
    alone = train(make_training(config), *faces, quiet=True).tensors()
    name = "surrogate.main.0.weight"
    assert not torch.equal(alone[name], first[name]), "the batch was twice as large"
    assert Checkpoint(tmp_path / "run").load()[1]["iteration"] == 4
