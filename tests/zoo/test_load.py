"""Trained networks from their files: what fits is frozen, what does not is named."""

from pathlib import Path

import pytest
import torch
from compare import weights
from safetensors.torch import load_file, save_file
from shipping import NEEDED
from torch.testing import assert_close

from idf.config import DOMAINS, UserError, load_config, load_film_config
from idf.data.files import save_tensors
from idf.networks import DomainDiscriminator, Judge, Res, make_generator
from idf.zoo import load
from idf.zoo.grid import EDITORS, GRID_POISONERS, NETWORKS, load_grid_poisoner


def test_half_precision_becomes_fp32(tmp_path):
    network = Judge(3, 4)
    path = tmp_path / "judge.safetensors"
    save_tensors(path, network.state_dict(), half=True)
    assert {value.dtype for value in load_file(path).values()} == {torch.float16, torch.int64}
    loaded = load.load_network(Judge(3, 4).train(), path)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for name, value in loaded.state_dict().items():
        original = network.state_dict()[name]
        if original.is_floating_point():
            original = original.half().float()
        assert torch.equal(value, original) and value.dtype != torch.float16


def test_the_published_statistics_are_dropped(tmp_path):
    network = Res(5, 4)
    statistics = {
        "main.1.running_mean": torch.ones(4),
        "main.1.num_batches_tracked": torch.tensor(3),
    }
    path = tmp_path / "published.safetensors"
    save_file(network.state_dict() | statistics, path)
    loaded = load.load_network(Res(5, 4), path)
    assert_close(dict(loaded.state_dict()), dict(network.state_dict()))


UNREADABLE = "not a readable safetensors file .*fetch or train it again"


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "No weights at .*make weights"),
        (b"", UNREADABLE),
        (b"\x80\x04not safetensors at all", UNREADABLE),
    ],
    ids=["missing", "empty", "pickle"],
)
def test_weights_missing_or_damaged(tmp_path, content, words):
    path = tmp_path / "surrogate.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        load.load_network(Res(5, 4), path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "other",
    [Res(5, 8), Res(4, 4), Res(5, 4, blocks=9), Judge(5, 4)],
    ids=["width", "domains", "blocks", "kind"],
)
def test_weights_of_another_architecture(tmp_path, other):
    path = tmp_path / "surrogate.safetensors"
    save_tensors(path, other.state_dict())
    words = "another architecture than Res .*width, size and domains"
    with pytest.raises(UserError, match=words) as error:
        load.load_network(Res(5, 4), path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# Which file


@pytest.mark.parametrize("data", ["", "faces"])
def test_other_domains_are_all_that_is_other(data):
    config = load_config("smoke", data_root=data)
    other = load.with_other_domains(config)
    assert other.domains == DOMAINS[config.dataset]["DD"]
    assert other.changed(domains=config.domains) == config


@pytest.mark.parametrize("name", NETWORKS)
def test_an_editor_is_of_its_architecture_and_of_the_settings(name):
    config = load_config("smoke", domains="Smiling,Bangs")
    editor = load.make_editor(config, name)
    assert type(editor) is type(make_generator(name, 2, 4, 32))
    assert editor(torch.zeros(1, 3, 32, 32), torch.zeros(1, 2)).shape == (1, 3, 32, 32)


def test_the_surrogate_comes_with_its_critic(tmp_path):
    config = load_config("smoke")
    networks = {
        load.SURROGATE: load.make_editor(config),
        load.CRITIC: DomainDiscriminator(32, 5, config.editor.width_d),
    }
    for name, network in networks.items():
        with pytest.raises(UserError, match=f"No weights at .*{name}"):
            load.load_surrogate(config, tmp_path)
        save_tensors(tmp_path / f"{name}.safetensors", network.state_dict())
    for loaded, network in zip(load.load_surrogate(config, tmp_path), networks.values()):
        assert torch.equal(weights(loaded), weights(network)) and not loaded.training


def test_one_judge_knows_the_domains_of_both_settings():
    config = load_config("smoke")
    known = load.judged_domains(config)
    assert known == DOMAINS["procedural"]["SD"] + DOMAINS["procedural"]["DD"]
    assert load.judged_domains(load.with_other_domains(config)) == known


def test_ships_asks_for_every_file(tmp_path):
    (tmp_path / "a.safetensors").touch()
    assert load.ships(tmp_path, "a") and not load.ships(tmp_path, "a", "b")
    assert load.ships(tmp_path) and not load.ships(tmp_path / "none", "a")


def test_photos_have_settings_without_a_folder():
    config = load.photo_config()
    assert config.dataset == "celeba" and config.domains == DOMAINS["celeba"]["SD"]
    assert not Path(config.data_root).exists()


def test_the_films_forgers_are_narrow():
    config = load_film_config("demo")
    small = load.small_forger(config)
    assert (small.forger.network, small.forger.width) == ("CNet", 12)
    assert small.changed(forger=config.forger) == config
    assert load.small_forger(load_film_config("smoke")).forger.width == 4


def test_photos_are_parsed_by_a_parser_of_their_own():
    assert load.parser_name(load_film_config("smoke")) == "parser"
    assert load.parser_name(load_film_config("smoke", video="me.mp4")) == "parser_photos"


# What ships


@pytest.mark.parametrize("data", ["", "celeba"])
def test_the_shipped_networks_of_scenario_1_load(data):
    config = load_config("demo", data_root=data)
    networks = [*load.load_surrogate(config)[1:], load.load_judge(config)]
    for name in NEEDED[config.dataset][1:]:
        poisoner = GRID_POISONERS.get(name)
        own = load_grid_poisoner(config, *poisoner) if poisoner else EDITORS[name].load(config)
        networks.append(own)
    for network in networks:
        assert not network.training and not any(p.requires_grad for p in network.parameters())
    sums = {weights(network).sum().item() for network in networks}
    assert len(sums) == len(networks), "no two are the same"


def test_the_shipped_networks_of_scenario_2_load():
    config = load_film_config("demo")
    for name in ("forger", "forger_reseed", "forger_infected"):
        assert not load.load_film_forger(config, name).training
    assert not load.load_parser(config).training
    assert not load.load_parser(config, "parser_photos").training
    assert not load.load_poisoner(config).training


def test_a_preset_that_ships_nothing_says_so():
    with pytest.raises(UserError, match=f"{load.SURROGATE}.safetensors holds another architecture"):
        load.load_surrogate(load_config("smoke"))
    with pytest.raises(UserError, match="No weights at .*procedural/editor_CNet_SD_9"):
        load.load_editor(load_config("demo"), "CNet", "editor_CNet_SD_9")
    with pytest.raises(UserError, match="There is no checkpoint nowhere.pth"):
        load.load_parser(load_film_config("demo", checkpoint="nowhere.pth"))


def test_an_own_folder_is_asked_instead(tmp_path):
    config = load_config("demo")
    with pytest.raises(UserError, match="No weights at") as error:
        load.load_judge(config, tmp_path)
    assert str(tmp_path) in str(error.value)
