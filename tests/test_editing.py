"""Algorithm 1: who learns from whom, PG_best, schedules, NaN, and a training in two processes."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from processes import run_two
from safetensors.torch import load_file
from torch.testing import assert_close

from idf import editing, losses
from idf.checkpoint import Checkpoint
from idf.config import HAIR, UserError, load_config
from idf.data import open_faces
from idf.editing import make_training, train
from idf.training import keep_best, randomness, weights_fixed

CONFIG = load_config("smoke", iterations=8, n_critic=2, poison_every=2, validate_every=4)


@pytest.fixture(scope="module")
def faces():
    return open_faces(CONFIG, "surrogate"), open_faces(CONFIG, "validation")


@pytest.fixture
def batch(faces):
    return faces[0].batch(0, 4, 0)


def snapshot(*networks):
    return [
        {name: value.clone() for name, value in network.state_dict().items()}
        for network in networks
    ]


def same(network, before):
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def previous_of(training):
    return tuple(copy.deepcopy(n).requires_grad_(False) for n in (training.surrogate, training.d_a))


def shaken(network, seed=0, by=0.1):
    """A copy with other weights, as if from another iteration."""
    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(network).requires_grad_(False)
    for p in network.parameters():
        p.add_(by * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return network


def silenced(poisoner):
    """PG's head set so that in evaluation mode delta is 0."""
    poisoner.last[0].weight.data.zero_()
    poisoner.last[1].running_mean.zero_()


def test_each_update_moves_its_own_network_alone(batch):
    x, c = batch
    alpha, c_trg = torch.full((4, 1, 1, 1), 0.5), c.flip(0)
    training = make_training(CONFIG)
    updates = {
        "d_a": lambda: editing.update_d_a(training, x, c, c_trg, alpha),
        "surrogate": lambda: editing.update_surrogate(training, x, c, c_trg),
        "d_b": lambda: editing.update_d_b(training, x, alpha),
        "poisoner": lambda: editing.update_poison(training, x, c, previous_of(training)),
    }
    weights = lambda: {
        name: torch.cat([p.detach().flatten() for p in network.parameters()])
        for name, network in training.networks().items()
    }
    for name, update in updates.items():
        before = weights()
        terms = update()
        moved = {
            other for other, value in weights().items() if not torch.equal(value, before[other])
        }
        assert moved == {name}
        assert terms and all(torch.isfinite(term) for term in terms.values())
        assert all(
            p.requires_grad
            for network in training.networks().values()
            for p in network.parameters()
        )


def test_stage_b_leaves_the_surrogate_and_its_critic_bit_identical(batch):
    x, c = batch
    training = make_training(CONFIG)
    before = snapshot(training.surrogate, training.d_a)
    for _ in range(3):
        editing.update_d_b(training, x, torch.full((4, 1, 1, 1), 0.5))
        editing.update_poison(training, x, c, previous_of(training))
    assert same(training.surrogate, before[0]) and same(training.d_a, before[1])
    assert not training.optimizers["surrogate"].state and not training.optimizers["d_a"].state
    assert all(
        p.grad is None
        for network in (training.surrogate, training.d_a)
        for p in network.parameters()
    )


def test_weights_are_free_again_after_an_error():
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), weights_fixed(network):
        assert not any(p.requires_grad for p in network.parameters())
        1 / 0
    assert all(p.requires_grad for p in network.parameters())


def test_the_surrogate_never_sees_the_poison(faces):
    alone, both = (
        train(make_training(CONFIG), *faces, stages, quiet=True) for stages in ("A", "AB")
    )
    assert same(both.surrogate, alone.surrogate.state_dict()) and same(
        both.d_a, alone.d_a.state_dict()
    )
    assert not same(both.surrogate, make_training(CONFIG).surrogate.state_dict())
    assert not same(both.poisoner, alone.poisoner.state_dict())


def test_stage_b_alone_keeps_a_given_surrogate(faces):
    given = make_training(load_config("smoke", seed=9))
    surrogate, d_a = copy.deepcopy(given.surrogate).eval(), copy.deepcopy(given.d_a)
    training = train(make_training(CONFIG, surrogate, d_a), *faces, "B", quiet=True)
    assert training.surrogate is surrogate
    assert same(surrogate, given.surrogate.state_dict()) and same(d_a, given.d_a.state_dict())
    assert not same(training.poisoner, make_training(CONFIG).poisoner.state_dict())


def poison_gradients(training, x, c, previous):
    training.poisoner.zero_grad()
    loss, terms = editing.poison_loss(training, x, c, previous)
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in training.poisoner.parameters()], terms


def test_one_pass_for_l_and_its_predecessor_equals_two(batch):
    training = make_training(CONFIG)
    d_a = shaken(training.d_a)
    shared = poison_gradients(training, *batch, (training.surrogate, d_a))
    recomputed = poison_gradients(training, *batch, (copy.deepcopy(training.surrogate), d_a))
    alone = poison_gradients(training, *batch, None)
    assert_close(shared[0], recomputed[0], rtol=1e-6, atol=1e-6)
    assert_close(shared[1], recomputed[1], rtol=1e-4, atol=1e-6)
    assert abs(shared[0] - 2 * alone[0]) > 1e-3  # the last iteration's D_A does count


def test_poison_loss_is_equation_12(batch):
    x, c = batch
    training = make_training(CONFIG)
    previous = shaken(training.surrogate), shaken(training.d_a, 1)
    loss, _, terms = poison_gradients(training, x, c, previous)
    targets = losses.target_labels(c, CONFIG.domains, HAIR)
    x_infected = losses.infect(x, training.poisoner(x), 0.05)
    weights = (CONFIG.lambda_bs, CONFIG.lambda_cyc, CONFIG.lambda_dom)
    now, before = (
        losses.influence_loss(s, [d], x, c, x_infected, targets, weights)["total"]
        for s, d in ((training.surrogate, training.d_a), previous)
    )
    assert_close(
        loss, (now + before - 0.01 * training.d_b(x_infected).mean()).detach(), rtol=1e-5, atol=1e-5
    )
    assert set(terms) == {"bs", "cyc", "dom", "total", "distance", "adv"}


@pytest.mark.parametrize("poison_every, n_critic", [(1, 2), (2, 2), (1, 1)])
def test_the_predecessor_is_the_last_iterations(faces, monkeypatch, poison_every, n_critic):
    """L' gets SM and D_A as they were before this iteration's own updates."""
    config = load_config("smoke", poison_every=poison_every, n_critic=n_critic)
    training, seen = make_training(config), []
    room = previous_of(training)
    monkeypatch.setattr(
        editing, "update_poison", lambda training, x, c, last: seen.append(snapshot(*last)) or {}
    )
    expected = []
    for i in range(4):
        before = snapshot(training.surrogate, training.d_a)
        editing.run_iteration(training, faces[0], "AB", room)
        training.iteration += 1
        if i % poison_every == 0:
            expected.append(before)
    assert len(seen) == len(expected) == 4 // poison_every
    for a, b in zip(seen, expected):
        assert_close(a, b, rtol=0, atol=0)


def test_the_weights_of_the_loss_are_settings(batch):
    x, c = batch
    total = lambda **settings: poison_gradients(
        make_training(load_config("smoke", **settings)), x, c, None
    )
    loss, _, terms = total(lambda_bs=3, lambda_cyc=0.0, lambda_dom=2, lambda_adv=5)
    assert_close(loss, (3 * terms["bs"] + 2 * terms["dom"] + 5 * terms["adv"]).detach())
    assert not torch.equal(total()[0], total(mu_per_sample=True)[0])


def keep(training, x, c):
    keep_best(training, training.poisoner, lambda pg: editing.forgery_distance(training, pg, x, c))


def test_keep_best_keeps_the_larger_distance(batch):
    training = make_training(CONFIG)
    keep(training, *batch)  # the first is kept, whatever it does
    kept = snapshot(training.best)[0]
    assert same(training.poisoner, kept) and training.best_distance > 0
    first = training.best_distance
    silenced(training.poisoner)
    keep(training, *batch)
    assert same(training.best, kept) and training.best_distance == pytest.approx(first)


def test_keep_best_measures_again_on_todays_surrogate(batch):
    training = make_training(CONFIG)
    silenced(training.best)
    training.best_distance = 99.0  # of an older surrogate
    keep(training, *batch)
    assert same(training.best, training.poisoner.state_dict())
    assert (
        training.best_distance == editing.forgery_distance(training, training.poisoner, *batch) > 0
    )


def test_forgery_distance_is_l1_in_evaluation_mode(batch):
    x, c = batch
    training = make_training(CONFIG)
    before = snapshot(training.poisoner)[0]
    distance = editing.forgery_distance(training, training.poisoner, x, c)
    assert training.poisoner.training and same(training.poisoner, before)
    x_infected = (x + 0.05 * training.poisoner.eval()(x)).clamp(-1, 1)
    pairs = [
        (training.surrogate(x, t), training.surrogate(x_infected, t))
        for t in losses.target_labels(c, CONFIG.domains, HAIR)
    ]
    assert distance == pytest.approx(
        sum((a - b).abs().mean().item() for a, b in pairs) / 5, rel=1e-4
    )


@pytest.mark.parametrize(
    "decay, iteration, factor",
    [
        (0.5, 0, 1),
        (0.5, 50, 1),
        (0.5, 75, 0.5),
        (0.5, 99, 0.02),
        (1.0, 25, 0.75),
        (0.0, 99, 1),
        (0.1, 95, 0.5),
    ],
)
def test_learning_rates_fall_to_zero_over_the_last_share(decay, iteration, factor):
    config = load_config(
        "smoke", iterations=100, decay=decay, lr=1e-3, lr_d=1e-4, lr_pg=1e-2, lr_d_b=1e-4
    )
    training = make_training(config)
    training.iteration = iteration
    training.set_learning_rates(editing.rates(training.config), training.config.iterations)
    rates = {
        name: optimizer.param_groups[0]["lr"] for name, optimizer in training.optimizers.items()
    }
    assert rates == pytest.approx(
        {
            "surrogate": 1e-3 * factor,
            "d_a": 1e-4 * factor,
            "poisoner": 1e-2 * factor,
            "d_b": 1e-4 * factor,
        }
    )
    assert all(
        optimizer.param_groups[0]["betas"] == (0.5, 0.999)
        for optimizer in training.optimizers.values()
    )


def test_queries_add_noise_of_one_band_to_every_other_image(batch):
    x, eps, seen = batch[0] / 2, 0.05, set()
    for seed in range(12):
        noise = editing.queries(x, eps, torch.Generator().manual_seed(seed)) - x
        assert not noise[::2].any()
        strength = (noise[1::2].abs() / eps).round().unique().tolist()
        assert len(strength) == 1 and strength[0] in (1, 2, 4)
        seen |= {*strength}
    assert seen == {1, 2, 4}


def test_imitation_learns_the_targets_answers_and_leaves_it_alone(faces):
    training, target = make_training(CONFIG), shaken(make_training(CONFIG).surrogate, by=0.05)
    before, x = snapshot(target)[0], faces[1].batch(0, 8, 0)
    difference = lambda: (training.surrogate(*x) - target(*x)).abs().mean().item()
    start = difference()
    train(training, *faces, "IB", target=target, quiet=True)
    assert difference() < 0.9 * start and same(target, before)
    recorded = set().union(*training.history)
    assert {"imitation", "pg_bs"} <= recorded and not {"sm_adv", "d_a_adv"} & recorded


def test_augment_shifts_and_relights_alone():
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draw = lambda seed: editing.augment(x, torch.Generator().manual_seed(seed))
    seen = draw(7)
    assert torch.equal(seen, draw(7)) and not torch.equal(seen, draw(8))
    padded = F.pad(x, (4, 4, 4, 4), mode="replicate")
    for image, own in zip(seen, padded, strict=True):
        fits = []
        for i in range(9):
            for j in range(9):
                crop = own[:, i : i + 32, j : j + 32].flatten()
                contrast = torch.cov(torch.stack([crop, image.flatten()]))[0, 1] / crop.var()
                brightness = image.mean() - contrast * crop.mean()
                if (contrast * crop + brightness - image.flatten()).abs().max() < 1e-4:
                    fits.append((contrast.item(), brightness.item()))
        assert len(fits) == 1 and 0.8 <= fits[0][0] <= 1.2 and abs(fits[0][1]) <= 0.2


def test_augment_passes_gradients_to_every_pixel_it_shows():
    x = torch.zeros(2, 3, 32, 32, requires_grad=True)
    editing.augment(x).sum().backward()
    assert (x.grad[:, :, 8:-8, 8:-8] > 0).all()


def test_hard_faces_are_near_and_classed_worse(batch):
    x, c = batch
    training = make_training(dataclasses.replace(CONFIG, robust=0.1))
    hard = editing.harden(training, x, c, torch.Generator().manual_seed(0))
    reach = (hard - x).abs().amax((1, 2, 3))
    share = torch.rand(len(x), 1, 1, 1, generator=torch.Generator().manual_seed(0)).flatten()
    assert_close(reach, 0.1 * share, rtol=1e-3, atol=1e-5)
    loss = lambda faces: losses.classification(training.d_a(faces)[1], c)
    assert loss(hard) > loss(x) and not hard.requires_grad
    assert all(p.grad is None and p.requires_grad for p in training.d_a.parameters())


def test_a_robust_head_learns_from_hard_faces_too(batch):
    x, c = batch
    for robust in (0.0, 0.5):
        training = make_training(dataclasses.replace(CONFIG, robust=robust))
        before = losses.classification(training.d_a(x)[1], c).item()
        hard = editing.harden(training, x, c, torch.Generator().manual_seed(1)) if robust else x
        both = torch.cat([x, hard]) if robust else x
        expected = losses.classification(
            training.d_a(both)[1], torch.cat([c, c]) if robust else c
        ).item()
        alpha = torch.full((4, 1, 1, 1), 0.5)
        measured = editing.update_d_a(
            training, x, c, c.flip(0), alpha, torch.Generator().manual_seed(1)
        )["d_a_cls"].item()
        assert measured == pytest.approx(expected, rel=1e-4)
        assert (measured > before * (1 + 1e-6)) == bool(robust)


@pytest.mark.parametrize("chosen, seen", [(True, 1), (False, 0)])
def test_augment_is_a_setting_that_both_players_follow(batch, monkeypatch, chosen, seen):
    calls = []
    monkeypatch.setattr(
        editing, "augment", lambda images, generator: calls.append(generator) or images
    )
    training = make_training(dataclasses.replace(CONFIG, augment=chosen))
    x, c = batch
    generator = torch.Generator()
    editing.update_d_a(training, x, c, c.flip(0), torch.rand(4, 1, 1, 1), generator)
    editing.update_surrogate(training, x, c, c.flip(0), generator)
    assert calls == 3 * seen * [
        generator
    ]  # the run's own draws: another seed or process sees other shifts


def test_the_identity_term_asks_for_no_change_under_the_own_label(batch):
    x, c = batch
    training = make_training(dataclasses.replace(CONFIG, lambda_idt=5.0))
    expected = (x - training.surrogate(x, c)).abs().mean().item()
    assert editing.update_surrogate(training, x, c, c.flip(0))["sm_idt"].item() == pytest.approx(
        expected, rel=1e-4
    )
    assert "sm_idt" not in editing.update_surrogate(make_training(CONFIG), x, c, c.flip(0))
    late = make_training(dataclasses.replace(CONFIG, lambda_idt=5.0, idt_share=0.5))
    late.iteration = CONFIG.iterations // 2
    assert "sm_idt" not in editing.update_surrogate(late, x, c, c.flip(0)), (
        "its share of the training is over"
    )


def test_randomness_depends_on_seed_iteration_and_process_alone():
    draw = lambda seed, iteration, rank: torch.rand(
        4, generator=randomness(seed, iteration, rank)
    ).tolist()
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    assert len({tuple(draw(*place)) for place in places}) == len(places)
    torch.manual_seed(5)
    assert draw(0, 1, 0) == draw(0, 1, 0)


def test_a_training_does_not_depend_on_the_global_generator(faces):
    runs = []
    for seed in (1, 2):
        training = make_training(CONFIG)
        torch.manual_seed(seed)
        runs.append(train(training, *faces, until=3, quiet=True).tensors())
    assert_close(*runs, rtol=0, atol=0)


def test_history_and_watch(faces):
    seen = []
    training = train(
        make_training(CONFIG),
        *faces,
        watch=lambda training: seen.append(training.iteration),
        quiet=True,
    )
    assert [record["iteration"] for record in training.history] == seen == list(range(1, 9))
    stage_b = {"d_b", "pg_bs", "pg_cyc", "pg_dom", "pg_total", "pg_distance", "pg_adv"}
    stage_a = {"d_a_adv", "d_a_cls", "d_a_gp"}
    assert set(training.history[0]) == {"iteration"} | stage_a | stage_b
    assert set(training.history[1]) == {"iteration", "sm_adv", "sm_cls", "sm_rec"} | stage_a
    assert [record["iteration"] for record in training.history if "best_distance" in record] == [
        4,
        8,
    ]
    assert training.history[-1]["best_distance"] == training.best_distance
    alone = train(make_training(CONFIG), *faces, "A", quiet=True).history
    assert not any(set(record) & stage_b for record in alone)


def test_progress_and_a_tensorboard_log(faces, tmp_path, capfd):
    train(make_training(CONFIG), *faces, folder=tmp_path)
    out, err = capfd.readouterr()
    assert "8/8" in out and not err
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_two_trainings_of_different_precision_live_side_by_side(batch):
    trainings = [make_training(load_config("smoke", bf16=bf16)) for bf16 in (True, False)]
    types = []
    for training in trainings:
        with training.accelerator.autocast():
            types.append(training.poisoner(batch[0]).dtype)
    assert types == [torch.bfloat16, torch.float32]


def test_bf16_trains_too(faces):
    training = train(
        make_training(load_config("smoke", bf16=True, iterations=4)), *faces, quiet=True
    )
    assert training.history[-2]["pg_distance"] > 0
    weights = [p for network in training.networks().values() for p in network.parameters()]
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in weights)


@pytest.mark.parametrize("name", ["surrogate", "d_a", "poisoner", "d_b"])
def test_nan_stops_and_keeps_the_last_good_checkpoint(faces, tmp_path, name):
    config = load_config("smoke")

    def spoil(training):
        if training.iteration == 5:
            next(training.networks()[name].parameters()).data[0] = float("nan")

    with pytest.raises(UserError, match="nan at iteration .*: training stopped") as error:
        train(make_training(config), *faces, folder=tmp_path, watch=spoil, quiet=True)
    assert str(tmp_path) in str(error.value) and "lower lr" in str(error.value)
    tensors, info = Checkpoint(tmp_path).load()
    assert info["iteration"] == 4 and all(value.isfinite().all() for value in tensors.values())
    assert train(make_training(config), *faces, folder=tmp_path, quiet=True).iteration == 12


def test_weights_spoilt_right_before_a_checkpoint_are_not_saved(faces, tmp_path):
    """An infinite gradient leaves the loss that was just recorded finite."""

    def spoil(training):
        if training.iteration == 8:
            next(training.poisoner.parameters()).data[0] = float("inf")

    with pytest.raises(UserError, match="iteration 8"):
        train(make_training(load_config("smoke")), *faces, folder=tmp_path, watch=spoil, quiet=True)
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 4


TWO_PROCESSES = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from idf.checkpoint import Checkpoint
from idf.config import load_config
from idf.data import open_faces
from idf.editing import make_training, train
from idf.training import step

folder, config = Path(sys.argv[1]), load_config("smoke", iterations=4)
training = make_training(config)
saved, save = [], Checkpoint.save
Checkpoint.save = lambda self, i, *rest: saved.append(i) or save(self, i, *rest)
train(training, open_faces(config, "surrogate"), open_faces(config, "validation"), folder=folder / "run", quiet=True)
rank = training.accelerator.process_index
weights = {f"{n}.{k}": p.detach().clone() for n, net in training.networks().items() for k, p in net.named_parameters()}
save_file(weights, folder / f"rank{rank}.safetensors")
step(training, "d_b", (rank + 1) * sum(p.sum() for p in training.d_b.parameters()))
means = {round(v, 6) for p in training.d_b.parameters() for v in p.grad.flatten().tolist()}
(folder / f"rank{rank}.txt").write_text(f"{training.accelerator.num_processes} {saved} {means}")
"""


def test_two_processes(faces, tmp_path):
    run_two(TWO_PROCESSES, tmp_path)
    # each rank's gradient is (rank + 1) everywhere, so their mean is 1.5; rank 0 alone saves
    assert (tmp_path / "rank0.txt").read_text() == "2 [4] {1.5}"
    assert (tmp_path / "rank1.txt").read_text() == "2 [] {1.5}"
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert_close(first, second, rtol=0, atol=0)
    assert all(value.isfinite().all() for value in first.values())
    alone = train(make_training(load_config("smoke", iterations=4)), *faces, quiet=True).tensors()
    # the batch was twice as large
    assert not torch.equal(alone["surrogate.main.0.weight"], first["surrogate.main.0.weight"])
    assert Checkpoint(tmp_path / "run").load()[1]["iteration"] == 4
