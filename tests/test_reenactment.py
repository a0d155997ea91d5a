"""Scenario 2: landmark drawing, pix2pix, the temporary model's gradient, what stage B may move, and resume."""

import copy
import dataclasses

import pytest
import torch
from processes import run_two
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from idf import losses, reenactment
from idf.config import UserError, load_video_config
from idf.networks import PatchGAN, PoisonGenerator, UNet256
from idf.reenactment import (
    LINES,
    TARGETS,
    by_poisoner,
    draw_landmarks,
    forge_frames,
    make_poisoning,
    make_reenactor,
    make_training,
    publish,
    temporary_model,
    train_poisoner,
    train_reenactor,
    update_poison,
    update_reenactor,
)
from idf.video import open_video

CONFIG = load_video_config("smoke")


@pytest.fixture(scope="module")
def frames():
    return open_video(CONFIG)


@pytest.fixture
def batch(frames):
    return draw_landmarks(frames.landmarks[:4], frames.size), frames.x(slice(4))


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def spread_points():
    """Landmarks far apart, so that each line can be seen alone."""
    return torch.full((1, 68, 2), -1000.0)


def test_the_lines_are_those_of_the_68_points():
    joined = [i for line, _ in LINES for i in line]
    assert sorted(set(joined)) == list(range(68))
    assert [closed for _, closed in LINES] == [False] * 4 + [True] * 5


@pytest.mark.parametrize("thickness", [3, 1])
def test_a_line_is_white_and_as_thick_as_told(thickness):
    points = spread_points()
    points[0, 17], points[0, 18:22] = (
        torch.tensor([10.0, 20.0]),
        torch.tensor([50.0, 20.0]),
    )  # a brow, straight
    z = draw_landmarks(points, 64, thickness)
    assert z.shape == (1, 3, 64, 64) and z.min() == -1 and z.max() == 1
    assert ((z[0, 0, :, 30] + 1) / 2).sum() == pytest.approx(thickness, abs=1e-4), "across the line"
    assert (
        (z[0, 0, 20, 10:51] == 1).all()
        and (z[0, 0, 20, 54:] == -1).all()
        and (z[0, 0, 25:] == -1).all()
    )
    assert torch.equal(z[0, 0], z[0, 1]) and torch.equal(z[0, 0], z[0, 2])


def test_three_pixels_at_full_size_and_less_below():
    points = spread_points()
    points[0, 17], points[0, 18:22] = torch.tensor([5.0, 20.0]), torch.tensor([25.0, 20.0])
    across = lambda size: ((draw_landmarks(points, size)[0, 0, :, 15] + 1) / 2).sum().item()
    assert [round(across(size), 3) for size in (256, 128, 64)] == [3.0, 1.5, 1.0]


@pytest.mark.parametrize(
    "points, closes", [(range(17, 22), False), (range(36, 42), True), (range(60, 68), True)]
)
def test_open_and_closed_lines(points, closes):
    placed, n = spread_points(), len(points)
    for k, i in enumerate(points):  # a wide arc whose ends lie 40 pixels apart on the bottom line
        placed[0, i] = torch.tensor(
            [12.0 + 40 * k / (n - 1), 50.0 - (30.0 if 0 < k < n - 1 else 0.0)]
        )
    z = draw_landmarks(placed, 64)
    assert (z[0, 0, 50, 32].item() == 1) == closes, "the line from the last point back to the first"


def test_a_point_that_moves_by_a_fraction_moves_the_picture(frames):
    moved = frames.landmarks[:1].clone()
    moved[:, 57, 1] += 0.2
    assert (draw_landmarks(moved, 64) - draw_landmarks(frames.landmarks[:1], 64)).abs().max() > 0.05


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_maps_landmarks_to_a_picture(name, batch):
    network = make_reenactor(name, CONFIG)
    y = network(batch[0])
    assert y.shape == batch[1].shape and y.abs().max() <= 1
    assert weights(network).std() < 0.1


def test_an_unknown_target_is_named():
    with pytest.raises(
        UserError, match="Unknown target network 'UNet': use one of UNet256, UNet128"
    ):
        make_reenactor("UNet", CONFIG)


def test_pix2pix_by_hand(batch):
    z, x = batch
    run = make_training(CONFIG, 0)
    network, d = copy.deepcopy(run.network), copy.deepcopy(run.d)
    torch.manual_seed(5)
    terms = update_reenactor(run, z, x)
    torch.manual_seed(5)
    y = network(z)
    bce = nn.functional.binary_cross_entropy_with_logits
    real, fake = d(z, x), d(z, y.detach())
    assert_close(
        terms["network_d"],
        (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))) / 2,
    )
    assert_close(terms["network_l1"], (y - x).abs().mean())
    assert not torch.equal(weights(run.network), weights(network)) and not torch.equal(
        weights(run.d), weights(d)
    )


def test_public_pix2pix_state_dict_loads_strictly():
    """Names and shapes of the public UnetGenerator (8 downs) and NLayerDiscriminator, written down from their code."""
    names, prefix = {}, "model.model"
    w = [64, 128, 256, 512, 512, 512, 512, 512]
    names["model.model.0.weight"] = (64, 3, 4, 4)
    names["model.model.3.weight"], names["model.model.3.bias"] = (128, 3, 4, 4), (3,)
    for i in range(1, 8):
        prefix += ".1.model" if i == 1 else ".3.model"
        inner, outer, last = w[i], w[i - 1], i == 7
        names[f"{prefix}.1.weight"] = (inner, outer, 4, 4)
        norm_up = 4 if last else 6
        names[f"{prefix}.{3 if last else 5}.weight"] = (inner * (1 if last else 2), outer, 4, 4)
        for place, width in [(norm_up, outer)] if last else [(2, inner), (norm_up, outer)]:
            for key in ("weight", "bias", "running_mean", "running_var"):
                names[f"{prefix}.{place}.{key}"] = (width,)
            names[f"{prefix}.{place}.num_batches_tracked"] = ()
    own = {name: tuple(value.shape) for name, value in UNet256(64, 256).state_dict().items()}
    assert own == names
    d = {
        name: tuple(value.shape)
        for name, value in PatchGAN(64, 3).state_dict().items()
        if "weight" in name
    }
    assert d == {
        "model.0.weight": (64, 6, 4, 4),
        "model.2.weight": (128, 64, 4, 4),
        "model.3.weight": (128,),
        "model.5.weight": (256, 128, 4, 4),
        "model.6.weight": (256,),
        "model.8.weight": (512, 256, 4, 4),
        "model.9.weight": (512,),
        "model.11.weight": (1, 512, 4, 4),
    }


def test_dropout_stands_in_the_inner_blocks_only():
    assert sum(isinstance(m, nn.Dropout) for m in UNet256(4, 256).modules()) == 3
    assert sum(isinstance(m, nn.Dropout) for m in UNet256(4, 256, less=1).modules()) == 2


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
    config = load_video_config("smoke", lr_inner=0.02, inner_steps=steps, round_off=3.0)
    tiny = Tiny().double().train()
    z, x, z_other, x_other = torch.rand(4, 2, 3, 6, 6, dtype=torch.float64) * 2 - 1

    def loss(x_infected):
        parameters = temporary_model(tiny, z, x_infected, config)
        return losses.reenactment_influence(
            x_other, functional_call(tiny, parameters, (z_other,)), x_other
        )

    assert torch.autograd.gradcheck(loss, x.requires_grad_(True), eps=1e-6, atol=1e-7)


def test_a_pg_whose_amplitude_is_free_by_setting():
    for free in (False, True):
        assert (
            make_poisoning(dataclasses.replace(CONFIG, affine_pg=free)).poisoner.last[1].affine
            is free
        )


def test_plain_l1_would_give_the_poison_no_gradient(batch):
    z, x = batch
    network = make_reenactor("CNet", CONFIG)
    x = x.clone().requires_grad_(True)

    def slope(round_off):
        config = load_video_config("smoke", round_off=round_off)
        parameters = temporary_model(network, z, x, config)
        return (
            torch.autograd.grad(functional_call(network, parameters, (z,)).square().mean(), x)[0]
            .abs()
            .max()
        )

    assert slope(1e-9) == 0 and slope(0.5) > 0


def test_the_temporary_model_is_one_step_of_sgd(batch):
    z, x = batch
    network = make_reenactor("Res6", CONFIG)
    twin, before = copy.deepcopy(network), weights(network)
    parameters = temporary_model(network, z, x, CONFIG)
    optimizer = torch.optim.SGD(twin.parameters(), lr=CONFIG.lr_inner)
    reenactment.training_loss(twin(z), x, CONFIG).backward()
    optimizer.step()
    for name, value in twin.named_parameters():
        assert_close(parameters[name], value)
    assert torch.equal(weights(network), before)


def test_stage_b_moves_pg_and_hands_tm_to_the_infected_model(batch):
    z, x = batch
    run = make_poisoning(dataclasses.replace(CONFIG, target="Res6"))
    before = {name: weights(network) for name, network in run.networks().items()}
    with torch.no_grad():
        x_infected = losses.infect(x, copy.deepcopy(run.poisoner)(x), CONFIG.eps)
    expected = temporary_model(copy.deepcopy(run.infected), z, x_infected, run.config)
    update_poison(run, z, x, z.flip(0), x.flip(0), 1.0)
    for name, parameter in run.infected.named_parameters():
        assert_close(parameter, expected[name], rtol=1e-4, atol=1e-6)
        assert parameter.is_leaf and parameter.grad is None, "copied, without its graph"
    moved = {
        name
        for name, network in run.networks().items()
        if not torch.equal(weights(network), before[name])
    }
    assert moved == {"poisoner", "infected"}


def test_the_mask_weighs_eq_11():
    x, y, y_infected = (
        torch.zeros(1, 3, 2, 2),
        torch.full((1, 3, 2, 2), 0.1),
        torch.full((1, 3, 2, 2), 0.3),
    )
    mask = torch.tensor([[[[1.0, 0.01], [0.01, 0.01]]]])
    assert losses.reenactment_influence(y, y_infected, x).item() == pytest.approx(-0.2)
    assert losses.reenactment_influence(y, y_infected, x, mask).item() == pytest.approx(
        -0.2 * 1.03 / 4
    )


def test_gan_loss_by_hand():
    assert losses.gan_loss(torch.zeros(1, 1, 2, 2), True).item() == pytest.approx(0.693147)
    assert losses.gan_loss(torch.full((1, 1, 2, 2), 2.0), False).item() == pytest.approx(2.126928)


def test_infected_frames_are_published_in_8_bits(frames):
    torch.manual_seed(0)
    published = publish(frames, by_poisoner(PoisonGenerator(4, 3).train(), 0.02))
    assert (
        published.images.dtype == frames.images.dtype
        and published.images.shape == frames.images.shape
    )
    change = published.x() - frames.x()
    assert 0 < change.abs().max() <= 0.02 + 1 / 255 + 1e-6
    assert torch.equal(published.landmarks, frames.landmarks)


def test_batches_of_one_use_each_pictures_own_statistics(batch):
    z, _ = batch
    network = make_reenactor("UNet256", CONFIG)
    alone = forge_frames(network, z, dataclasses.replace(CONFIG, batch=1))
    assert_close(alone[1:2], forge_frames(network, z[1:2], dataclasses.replace(CONFIG, batch=1)))
    together = forge_frames(network, z, CONFIG)
    assert not torch.allclose(alone, together) and not network.training


def test_a_broken_training_ends_as_an_unbroken_one(frames, tmp_path):
    whole = train_reenactor(CONFIG, frames, 3, folder=tmp_path / "whole", quiet=True)
    train_reenactor(CONFIG, frames, 3, folder=tmp_path / "broken", until=4, quiet=True)
    again = train_reenactor(CONFIG, frames, 3, folder=tmp_path / "broken", quiet=True)
    assert (
        torch.equal(weights(whole.network), weights(again.network))
        and again.iteration == CONFIG.iterations
    )
    other = train_reenactor(CONFIG, frames, 4, quiet=True)
    assert not torch.equal(weights(whole.network), weights(other.network))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"restart_every": 3, "delay": 2, "inner_steps": 2},
        {"follow": 0, "masked": False},
        {"bf16": True},
        {"size": 64},
    ],
)  # only there has UNet256 dropout
def test_poisoning_resumes_bit_for_bit(frames, tmp_path, changes):
    config = dataclasses.replace(CONFIG, **changes)
    frames = open_video(config) if "size" in changes else frames
    train, validation = frames.part("train"), frames.part("validation")
    masks = torch.ones(len(train), 1, frames.size, frames.size)
    whole = train_poisoner(config, train, validation, masks, folder=tmp_path / "whole", quiet=True)
    train_poisoner(
        config, train, validation, masks, folder=tmp_path / "broken", until=4, quiet=True
    )
    again = train_poisoner(config, train, validation, masks, folder=tmp_path / "broken", quiet=True)
    for name, network in whole.networks().items():
        assert torch.equal(weights(network), weights(again.networks()[name])), name
    assert torch.equal(weights(whole.best), weights(again.best))
    assert {"pg_influence", "pg_adv"} <= set().union(*whole.history)


def test_without_alternation_the_surrogate_stays(frames):
    train, validation = frames.part("train"), frames.part("validation")
    surrogate = train_reenactor(CONFIG, train, 0, quiet=True).network
    before = weights(surrogate)
    run = train_poisoner(CONFIG, train, validation, surrogate=surrogate, quiet=True)
    assert torch.equal(weights(run.surrogate), before)
    assert "surrogate_l1" not in set().union(*run.history)
    begun = make_poisoning(CONFIG, surrogate)
    assert torch.equal(weights(begun.infected), before), (
        "M' starts from the finished SM: in Eq. 11 SM alone moves nothing"
    )
    assert begun.infected is not surrogate


def test_the_surrogate_is_but_a_yardstick(frames):
    """Eq. 11 as printed: SM's term is the same for every PG, so another SM gives the same PG."""
    poisoners = []
    for shake in (0.0, 0.1):
        run = make_poisoning(CONFIG)
        with torch.no_grad():
            for parameter in run.surrogate.parameters():
                parameter.add_(shake)
        for _ in range(2):
            reenactment.poison_iteration(
                run, frames, reenactment.landmark_maps(frames), None, alternate=True
            )
            run.iteration += 1
        poisoners.append(weights(run.poisoner))
    assert torch.equal(*poisoners)


def test_pg_best_is_measured_with_equal_dropout():
    config = dataclasses.replace(CONFIG, size=64)
    run, film = make_poisoning(config), open_video(config)
    assert any(isinstance(m, nn.Dropout) for m in run.infected.modules())
    z, x = draw_landmarks(film.landmarks[:8], 64), film.x(slice(8))
    first = reenactment.influence_of(run, run.poisoner, z, x)
    torch.rand(5)
    assert reenactment.influence_of(run, run.poisoner, z, x) == first
    assert (
        reenactment.influence_of(
            make_poisoning(dataclasses.replace(config, seed=1)), run.poisoner, z, x
        )
        != first
    )


def test_frames_that_judge_tm_are_not_those_it_learned(frames, monkeypatch):
    seen = []
    note = lambda run, z, x, z_other, x_other, mask: seen.append((x, x_other)) or {}
    monkeypatch.setattr(reenactment, "update_poison", note)
    run = make_poisoning(CONFIG)
    for iteration in range(20):
        run.iteration = iteration
        reenactment.poison_iteration(
            run, frames, reenactment.landmark_maps(frames), None, alternate=False
        )
    assert len(seen) == 20
    for x, x_other in seen:
        assert not any(torch.equal(a, b) for a in x for b in x_other)


def test_other_settings_do_not_continue_a_training(frames, tmp_path):
    train_reenactor(CONFIG, frames, 0, folder=tmp_path, until=4, quiet=True)
    with pytest.raises(
        UserError, match=r"holds a training with lambda_l1=100.0, not 1.0: delete that folder"
    ):
        train_reenactor(
            dataclasses.replace(CONFIG, lambda_l1=1.0), frames, 0, folder=tmp_path, quiet=True
        )
    other_poison = dataclasses.replace(CONFIG, eps=0.05, width_pg=8, checkpoint_every=3)
    run = train_reenactor(other_poison, frames, 0, folder=tmp_path, quiet=True)
    assert run.iteration == CONFIG.iterations, "a forger knows nothing of the poison's settings"


TWO_PROCESSES = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from idf.config import load_video_config
from idf.reenactment import train_poisoner
from idf.video import open_video

config = load_video_config("smoke", poison_iterations=3, video="")
film = open_video(config)
run = train_poisoner(config, film.part("train"), film.part("validation"), folder=Path(sys.argv[1]) / "run", quiet=True)
networks = run.networks() | {"best": run.best}
weights = {f"{n}.{k}": v.detach().clone() for n, net in networks.items() for k, v in net.state_dict().items()}
save_file(weights, f"{sys.argv[1]}/rank{run.accelerator.process_index}.safetensors")
"""


def test_two_processes_poison_together(tmp_path):
    run_two(TWO_PROCESSES, tmp_path)
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert_close(first, second, rtol=0, atol=0)
    assert (tmp_path / "run" / "checkpoint.json").is_file()
