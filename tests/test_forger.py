"""Scenario 2's forger: pix2pix, by hand, resumed, and what it downloads."""

import copy

import pytest
import torch
from compare import weights
from torch import nn
from torch.testing import assert_close

from idf.config import ForgerSettings, UserError, load_film_config
from idf.data.film import open_film
from idf.data.landmarks import draw_landmarks
from idf.forger import (
    draw_batch,
    forge_frames,
    landmark_maps,
    make_forger_training,
    make_reenactor,
    publish,
    train_reenactor,
    update_reenactor,
)
from idf.methods import Context, protection
from idf.networks import PoisonGenerator

CONFIG = load_film_config("smoke")
NETWORKS = ForgerSettings.model_fields["network"].annotation.__args__


@pytest.fixture(scope="module")
def frames():
    return open_film(CONFIG)


@pytest.fixture(scope="module")
def batch(frames):
    return draw_landmarks(frames.landmarks[:4], frames.size), frames.x(slice(4))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_forger_maps_landmarks_to_a_picture(name, batch):
    network = make_reenactor(CONFIG, name)
    y = network(batch[0])
    assert y.shape == batch[1].shape and y.abs().max() <= 1
    assert weights(network).std() < 0.1, "pix2pix's initial weights, whatever the network"


def test_the_settings_choose_the_forger():
    config = CONFIG.changed(network="CNet")
    assert type(make_reenactor(config)).__name__ == "CNet"
    assert type(make_reenactor(config, "Res6")).__name__ == "Res"


def test_an_unknown_forger_is_named():
    with pytest.raises(UserError, match="Unknown network 'UNet': use one of .*UNet256, UNet128-BN"):
        make_reenactor(CONFIG, "UNet")


def test_pix2pix_by_hand(batch):
    z, x = batch
    run = make_forger_training(CONFIG, 0)
    network, d = copy.deepcopy(run.network), copy.deepcopy(run.d)
    torch.manual_seed(5)
    terms = update_reenactor(run, run.network, run.d, z, x)

    torch.manual_seed(5)
    y = network(z)
    bce = nn.functional.binary_cross_entropy_with_logits
    real, fake = d(z, x), d(z, y.detach())
    loss_d = (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))) / 2
    assert_close(terms["network_d"], loss_d)
    assert_close(terms["network_l1"], (y - x).abs().mean())
    passed = run.d(z, y.detach())  # D has learned before M is judged by it
    assert_close(terms["network_gan"], bce(passed, torch.ones_like(passed)))
    assert not torch.equal(weights(run.network), weights(network))
    assert not torch.equal(weights(run.d), weights(d))


def test_lambda_l1_weighs_the_forgers_l1(batch):
    z, x = batch
    gradients = []
    for lambda_l1 in (0.0, 1.0, 3.0):
        run = make_forger_training(CONFIG.changed(lambda_l1=lambda_l1), 0, "Res6")
        update_reenactor(run, run.network, run.d, z, x)
        grads = [p.grad.flatten() for p in run.network.parameters() if p.grad is not None]
        gradients.append(torch.cat(grads))
    none, once, thrice = gradients
    assert_close(thrice - none, 3 * (once - none), rtol=1e-2, atol=1e-5)


def test_both_players_learn_at_the_forgers_rate():
    run = make_forger_training(CONFIG.changed(**{"forger.lr": 5e-4}), 0)
    assert [adam.param_groups[0]["lr"] for adam in run.optimizers.values()] == [5e-4, 5e-4]


def test_a_broken_training_ends_as_an_unbroken_one(frames, tmp_path):
    whole = train_reenactor(CONFIG, frames, 3, folder=tmp_path / "whole", quiet=True)
    train_reenactor(CONFIG, frames, 3, folder=tmp_path / "broken", until=4, quiet=True)
    again = train_reenactor(CONFIG, frames, 3, folder=tmp_path / "broken", quiet=True)
    assert again.iteration == CONFIG.forger.iterations
    assert_close(again.tensors(), whole.tensors(), rtol=0, atol=0)
    assert again.history == whole.history
    other = train_reenactor(CONFIG, frames, 4, quiet=True)
    assert not torch.equal(weights(whole.network), weights(other.network))


def test_other_settings_do_not_continue_a_training(frames, tmp_path):
    train_reenactor(CONFIG, frames, 0, folder=tmp_path, until=4, quiet=True)
    other = CONFIG.changed(lambda_l1=1.0)
    words = r"holds a training with forger.lambda_l1=100.0, not 1.0: delete that folder"
    with pytest.raises(UserError, match=words):
        train_reenactor(other, frames, 0, folder=tmp_path, quiet=True)
    with pytest.raises(UserError, match="with network=UNet256, not CNet"):
        train_reenactor(CONFIG, frames, 0, "CNet", folder=tmp_path, quiet=True)

    # a forger knows nothing of the poison's settings
    pg = {"eps": 0.05, "poisoner.width": 8, "checkpoint_every": 3}
    run = train_reenactor(CONFIG.changed(**pg), frames, 0, folder=tmp_path, quiet=True)
    assert run.iteration == CONFIG.forger.iterations


def test_a_batch_is_of_pairs(frames):
    run, maps = make_forger_training(CONFIG, 0), landmark_maps(frames)
    assert maps.dtype == torch.uint8 and maps.shape == (len(frames), 1, 32, 32)
    z, x, index = draw_batch(run, frames, maps, 4)
    assert z.shape == x.shape == (4, 3, 32, 32) and len(set(index)) == 4
    assert torch.equal(x, frames.x(index))
    drawn = draw_landmarks(frames.landmarks[index], frames.size)
    assert_close(z, drawn, rtol=0, atol=1 / 127)  # in 8 bits
    run.iteration = 1
    assert not set(draw_batch(run, frames, maps, 4)[2]) & set(index), "the permutation goes on"


def test_batches_of_one_use_each_pictures_own_statistics(batch):
    z, _ = batch
    network = make_reenactor(CONFIG, "UNet256")
    single = CONFIG.changed(**{"forger.batch": 1, "poisoner.batch": 1})
    alone = forge_frames(network, z, single)
    assert_close(alone[1:2], forge_frames(network, z[1:2], single))
    together = forge_frames(network, z, CONFIG)
    assert not torch.allclose(alone, together)


@pytest.mark.parametrize("size", [1, 4])
def test_forging_moves_nothing(batch, size):
    config = CONFIG.changed(**{"forger.batch": size, "poisoner.batch": 1})
    network = make_reenactor(CONFIG, "UNet256").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    y = forge_frames(network, batch[0], config)
    assert not y.requires_grad and network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(y, forge_frames(network, batch[0], config)), "without dropout"


def test_infected_frames_are_published_in_8_bits(frames):
    torch.manual_seed(0)
    context = Context(poisoners={"ours": PoisonGenerator(4, 3).train()})
    published = publish(frames, protection("ours", context, 0.02))
    assert published.images.dtype == frames.images.dtype
    assert published.images.shape == frames.images.shape
    change = published.x() - frames.x()
    assert 0 < change.abs().max() <= 0.02 + 1 / 255 + 1e-6
    assert torch.equal(published.landmarks, frames.landmarks)
    assert published.numbers == frames.numbers
