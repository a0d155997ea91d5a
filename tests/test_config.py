"""Presets and the settings that change them: what is taken, what is refused and in which words."""

import dataclasses

import pytest

from idf.config import DOMAINS, PRESETS, Config, UserError, load_config, parse_setting


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_frozen(preset):
    config = load_config(preset)
    assert config.preset == preset
    assert config.domains == DOMAINS["procedural"]["SD"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.eps = 0.1


def test_presets_hold_only_settings_of_the_right_type():
    types = {field.name: type(field.default) for field in dataclasses.fields(Config)}
    for settings in PRESETS.values():
        for name, value in settings.items():
            assert type(value) is types[name], name


def test_paper_is_the_paper():
    config = load_config("paper")
    assert (config.size, config.width, config.width_pg, config.width_d_b, config.batch) == (
        128,
        64,
        64,
        32,
        16,
    )
    assert (config.iterations, config.decay, config.n_critic, config.poison_every) == (
        200_000,
        0.5,
        5,
        1,
    )
    assert (config.lr, config.lr_pg) == (1e-4, 1e-4)
    assert (config.lambda_bs, config.lambda_cyc, config.lambda_dom, config.lambda_adv) == (
        10,
        2.5,
        1,
        0.01,
    )
    assert (config.lambda_cls, config.lambda_rec, config.lambda_gp, config.lr_d_b) == (
        1,
        10,
        10,
        1e-5,
    )
    assert config.batch_pg == config.batch and config.previous and config.eps == 0.05


def test_sd_and_dd_share_no_domain():
    for settings in DOMAINS.values():
        assert not set(settings["SD"]) & set(settings["DD"])
        assert len(settings["SD"]) == len(settings["DD"]) == 5


def test_a_celeba_folder_brings_celebas_domains_and_weights():
    config = load_config("smoke", data_root="faces")
    assert config.domains == DOMAINS["celeba"]["SD"]
    assert config.weights.name == "celeba" and load_config("smoke").weights.name == "procedural"


def test_overrides():
    config = load_config("smoke", eps=1, domains="Smiling,Bangs", width=8)
    assert config.eps == 1.0 and type(config.eps) is float  # a whole number is a fine float
    assert config.domains == ("Smiling", "Bangs") and config.width == 8
    assert load_config("smoke", domains=["Smiling"]).domains == ("Smiling",)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(preset="huge"), ["'huge'", "smoke", "demo", "gpu", "paper"]),
        (dict(epsilon=0.05), ["'epsilon'", "eps", "n_critic"]),
        (dict(eps="0.05"), ["eps='0.05'", "float"]),
        (dict(width=2.5), ["width=2.5", "int"]),
        (dict(bf16=1), ["bf16=1", "bool"]),
        (dict(iterations=True), ["iterations=True", "int"]),
        (dict(domains=3), ["domains=3", "tuple"]),
        (dict(eps=0), ["eps=0.0", "(0, 1]"]),
        (dict(eps=-0.05), ["eps=-0.05", "(0, 1]"]),
        (dict(eps=1.01), ["eps=1.01", "(0, 1]"]),
        (dict(eps=float("nan")), ["eps=nan", "(0, 1]"]),
        (dict(size=100), ["size=100", "64"]),
        (dict(decay=1.5), ["decay=1.5", "[0, 1]"]),
        (dict(batch=0), ["batch=0", "at least 1"]),
        (dict(n_critic=-1), ["n_critic=-1", "at least 1"]),
        (dict(lr=0), ["lr=0.0", "above 0"]),
    ],
)
def test_a_bad_setting_is_named_with_its_remedy(settings, words):
    with pytest.raises(UserError) as error:
        load_config(**{"preset": "smoke"} | settings)
    sentence = str(error.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and sentence.endswith(".")


def test_a_notebook_shows_the_sentence_alone():
    assert UserError("Do this.")._render_traceback_() == ["UserError: Do this."]


@pytest.mark.parametrize(
    "text, value",
    [("1e-3", 1e-3), ("8", 8), ("true", True), ('["a"]', ["a"]), ("a,b", "a,b"), ("", "")],
)
def test_parse_setting(text, value):
    parsed = parse_setting(text)
    assert parsed == value and type(parsed) is type(value)


def test_photos_have_settings_of_their_own_that_an_override_beats():
    drawn, photos = load_config("demo"), load_config("demo", data_root="somewhere")
    assert photos.augment and not drawn.augment and photos.lambda_rec != drawn.lambda_rec
    assert load_config("demo", data_root="somewhere", lambda_rec=7.0).lambda_rec == 7
