"""Presets and the settings that change them: what is taken, what is refused and in which words."""

import pydantic
import pytest

from idf.config import (
    DOMAINS,
    PRESETS,
    Config,
    FilmConfig,
    UserError,
    load_config,
    load_film_config,
)
from idf.settings import parts_of, setting_names

SCENARIOS = pytest.mark.parametrize("load", [load_config, load_film_config])


def sentence(error):
    """The words of a UserError, which must be one sentence on one line."""
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and ". " not in text, text
    return text


# Presets


@SCENARIOS
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_loads_and_is_frozen(load, preset):
    config = load(preset)
    assert config.preset == preset
    for part in (config, config.poisoner):
        name = next(iter(type(part).model_fields))
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))


def test_preset_paper_is_the_defaults():
    assert load_config("paper", domains="Smiling") == Config(domains=("Smiling",))
    assert load_film_config("paper") == FilmConfig()
    assert load_config("paper").differences().keys() == {"domains"}


def test_the_defaults_are_the_papers_and_its_codes():
    config = load_config("paper")
    editor, pg = config.editor, config.poisoner
    assert config.size == 128 and config.interpolation == "bilinear" and not config.bf16
    assert (editor.width, editor.batch, pg.width, pg.width_d_b) == (64, 16, 64, 32)
    assert (editor.iterations, editor.decay, editor.n_critic) == (200_000, 0.5, 5)
    assert (pg.iterations, pg.decay) == (30_000, 0.0), "of Algorithm 1"
    assert (editor.lr, editor.lr_d, pg.lr, pg.lr_d_b) == (1e-4, 1e-4, 1e-4, 1e-5)
    assert (pg.lambda_bs, pg.lambda_cyc, pg.lambda_dom, pg.lambda_adv) == (10, 2.5, 1, 0.01)
    assert (editor.lambda_cls, editor.lambda_rec, editor.lambda_gp) == (1, 10, 10)
    assert (pg.levels, pg.every, pg.batch, pg.eps) == (5, 1, editor.batch, 0.05)
    assert pg.previous and pg.affine and pg.align_corners and not pg.mu_per_sample
    assert not editor.robust and not editor.noise, "what StarGAN does not have is off"
    assert (pg.head, pg.keys, pg.cap) == ("UNet", 0, 2.0), "nor do keys concern the paper's PG"


def test_the_films_defaults_are_the_papers_and_pix2pixs():
    config = load_film_config("paper")
    forger, pg = config.forger, config.poisoner
    assert (config.size, forger.network, forger.width, forger.layers_d) == (256, "UNet256", 64, 3)
    assert (forger.batch, forger.lr, forger.decay, forger.lambda_l1) == (1, 2e-4, 0.5, 100)
    assert (pg.width, pg.levels, pg.batch, pg.eps, pg.follow) == (64, 5, 1, 0.02, 0)
    assert (pg.lambda_adv, pg.inner_steps, pg.masked, pg.background) == (0.01, 1, True, 0.01)


def test_sd_and_dd_share_no_domain():
    for settings in DOMAINS.values():
        assert not set(settings["SD"]) & set(settings["DD"])
        assert len(settings["SD"]) == len(settings["DD"]) == 5


def test_a_celeba_folder_brings_celebas_domains_and_weights():
    drawn, photos = load_config("smoke"), load_config("smoke", data_root="faces")
    assert drawn.domains == DOMAINS["procedural"]["SD"] and drawn.weights.name == "procedural"
    assert photos.domains == DOMAINS["celeba"]["SD"] and photos.weights.name == "celeba"


def test_photos_may_have_settings_of_their_own_that_an_override_beats(monkeypatch):
    tables = {"attributes": {"editor": {"lambda_rec": 3.0}}, "photos": {"editor": {"width": 8}}}
    monkeypatch.setattr("idf.config._read_preset", lambda preset: tables)
    drawn, photos = load_config("demo"), load_config("demo", data_root="somewhere")
    assert (photos.editor.width, drawn.editor.width) == (8, 64)
    assert photos.editor.lambda_rec == drawn.editor.lambda_rec == 3
    assert load_config("demo", data_root="somewhere", lambda_rec=7.0).editor.lambda_rec == 7


# Overrides


@pytest.mark.parametrize(
    "override", [{"n_critic": 3}, {"editor.n_critic": 3}, {"editor": {"n_critic": 3}}]
)
def test_an_override_is_bare_dotted_or_nested(override):
    plain = load_config("smoke")
    loaded, changed = load_config("smoke", **override), plain.changed(**override)
    assert loaded == changed and loaded.editor.n_critic == 3
    assert loaded.changed(n_critic=plain.editor.n_critic) == plain, "all else is the preset's"


def test_a_part_may_be_handed_over_whole():
    other = load_config("demo").poisoner
    assert load_config("smoke", poisoner=other).poisoner == other


def test_values_become_their_settings_type():
    config = load_config("smoke", eps=1, domains="Smiling, Bangs")
    assert config.poisoner.eps == 1.0 and type(config.poisoner.eps) is float
    assert config.domains == ("Smiling", "Bangs")
    assert load_config("smoke", domains=["Smiling"]).domains == ("Smiling",)


@SCENARIOS
def test_a_name_of_one_part_needs_no_dot_and_a_name_of_several_does(load):
    config = load("smoke")
    parts = parts_of(type(config))
    for full in setting_names(type(config)):
        part, _, name = full.rpartition(".")
        homes = [other for other, of in parts.items() if name in of.model_fields]
        value = getattr(getattr(config, part) if part else config, name)
        assert config.changed(**{full: value}) == config
        if part and len(homes) == 1 and name not in type(config).model_fields:
            assert config.changed(**{name: value}) == config
        elif part and name not in type(config).model_fields:
            with pytest.raises(UserError) as error:
                config.changed(**{name: value})
            words = " or ".join(f"{home}.{name}" for home in homes)
            assert sentence(error) == f"{name} is a setting of several parts: say {words}."


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(preset="huge"), ["'huge'", "smoke", "demo", "gpu", "paper"]),
        # names
        (dict(epsilon=0.05), ["'epsilon'", "did you mean poisoner.eps?"]),
        ({"editor.n_crtic": 2}, ["'editor.n_crtic'", "did you mean editor.n_critic"]),
        ({"editor": {"n_crtic": 2}}, ["'n_crtic'", "n_critic"]),
        (dict(zzz=1), ["'zzz'", "the settings are", "seed", "poisoner.eps"]),
        ({"editors.lr": 1e-3}, ["'editors.lr'", "editor.lr"]),
        ({"editor.": 1}, ["'editor.'"]),
        ({"": 1}, ["''"]),
        # types
        (dict(eps="0.05"), ["poisoner.eps='0.05'", "number"]),
        (dict(eps=None), ["poisoner.eps=None", "number"]),
        ({"editor.width": 2.5}, ["editor.width=2.5", "integer"]),
        ({"editor.iterations": True}, ["editor.iterations=True", "integer"]),
        (dict(bf16=1), ["bf16=1", "bool"]),
        (dict(domains=3), ["domains=3", "one to ten attributes"]),
        (dict(domains=[3]), ["domains=3", "string"]),
        (dict(data_root=3), ["data_root=3", "string"]),
        (dict(editor=3), ["editor=3", "EditorSettings"]),
        # sign and range
        (dict(eps=0), ["poisoner.eps=0", "greater than 0", ".01 to .05"]),
        (dict(eps=-0.05), ["poisoner.eps=-0.05", "greater than 0"]),
        (dict(eps=1.01), ["poisoner.eps=1.01", "less than or equal to 1"]),
        ({"editor.decay": 1.5}, ["editor.decay=1.5", "less than or equal to 1"]),
        ({"editor.batch": 0}, ["editor.batch=0", "greater than or equal to 1"]),
        (dict(n_critic=-1), ["editor.n_critic=-1", "greater than or equal to 1"]),
        ({"editor.lr": 0}, ["editor.lr=0", "greater than 0"]),
        (dict(lambda_rec=-1.0), ["editor.lambda_rec=-1.0", "greater than or equal to 0"]),
        (dict(seed=-1), ["seed=-1", "greater than or equal to 0"]),
        (dict(domains=["Smiling"] * 11), ["domains=", "at most 10", "one to ten attributes"]),
        # no number
        (dict(eps=float("nan")), ["poisoner.eps=nan"]),
        (dict(eps=float("inf")), ["poisoner.eps=inf"]),
        ({"editor.lr": float("nan")}, ["editor.lr=nan", "finite"]),
        (dict(lambda_cyc=float("inf")), ["poisoner.lambda_cyc=inf", "finite"]),
        # choices, and what goes together
        (dict(size=100), ["size=100", "use one of 32, 64, 128, 256"]),
        ({"poisoner.head": "Net"}, ["poisoner.head='Net'", "use one of UNet, Waves"]),
        (dict(interpolation="nearest"), ["interpolation='nearest'", "bilinear, bicubic"]),
        (dict(levels=7), ["poisoner.levels=7", "32 px", "at most 6"]),
        (dict(periods="3"), ["poisoner.periods=3", "32 px", "use 2 or 4"]),
        (dict(keys=1), ["poisoner.keys", 'poisoner.head="Waves"', "keys=0"]),
        (dict(domains="Smiling,Bangs,Smiling"), ["Smiling twice", "each attribute once"]),
        # size
        (dict(faces=10**30), ["faces=1000", "less than or equal to 10000000"]),
        ({"editor.width": 10**9}, ["editor.width=1000000000", "less than or equal to 1024"]),
        ({"judge.iterations": 10**400}, ["judge.iterations=1000", " ... 000", "less than"]),
        # a notebook's parameter
        (dict(preset=3), ["Unknown preset 3", "use one of demo"]),
        (dict(preset=["demo"]), ["Unknown preset ['demo']", "use one of demo"]),
        (dict(data_root=5), ["data_root=5", "string"]),
        (dict(skip_bad="no"), ["skip_bad='no'", "boolean"]),
    ],
    ids=str,
)
def test_a_bad_setting_is_named_with_its_remedy(settings, words):
    preset = settings.pop("preset", "smoke")
    with pytest.raises(UserError) as error:
        load_config(preset, **settings)
    said = str(error.value)
    assert all(word in said for word in words), said
    assert "\n" not in said and said[-1] in ".?"
    if preset == "smoke":
        with pytest.raises(UserError) as again:
            load_config("smoke").changed(**settings)
        assert str(again.value) == said, "`changed` checks as load_config does"


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(preset="huge"), ["'huge'", "smoke", "demo", "gpu", "paper"]),
        (dict(frames=10), ["frames=10", "at least 50", "0 for all of a video"]),
        (dict(frames=0), ["frames=0", "no end", "like 1600"]),
        (dict(landmarks="points.npz"), ["landmarks", "set `video`"]),
        (dict(layers_d=5), ["forger.layers_d", "32 px", "smaller number"]),
        (dict(levels=7), ["poisoner.levels", "32 px", "at most 6"]),
        ({"parser.size": 100}, ["parser.size=100", "multiple of 64"]),
        ({"poisoner.batch": 5}, ["poisoner.batch=5", "forger.batch=4", "smaller number"]),
        (dict(follow=-1), ["poisoner.follow=-1", "greater than or equal to 0"]),
        (dict(background=2.0), ["poisoner.background=2.0", "less than or equal to 1"]),
        (dict(network="UNet128"), ["forger.network='UNet128'", "UNet256, UNet128-BN, CNet"]),
        (dict(round_off=0.0), ["poisoner.round_off=0.0", "greater than 0"]),
        (dict(n_critic=2), ["'n_critic'"]),
    ],
    ids=str,
)
def test_a_bad_setting_of_a_film_is_named_with_its_remedy(settings, words):
    preset = settings.pop("preset", "smoke")
    with pytest.raises(UserError) as error:
        load_film_config(preset, **settings)
    said = str(error.value)
    assert all(word in said for word in words), said
    assert "\n" not in said and said[-1] in ".?"


@SCENARIOS
@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(overrides=[1, 2]), "overrides=[1, 2] must be settings by their names"),
        (dict(overrides=3), "overrides=3 must be settings by their names"),
        (dict(overrides=None), "overrides=None must be settings by their names"),
        (dict(overrides="eps=.03"), "overrides='eps=.03' must be settings by their names"),
        (dict(overrides={1: 2}), "Unknown setting '1'"),
        (dict(overrides={"poisoner": {1: 2}}), "Unknown setting '1'"),
        (dict(overrides={"eps": 0}), "poisoner.eps=0"),
        (dict(seed=1, overrides={"seed": 2}), "seed is no matter of overrides: set seed itself."),
        (dict(overrides={"preset": "demo"}), "preset is no matter of overrides"),
    ],
    ids=str,
)
def test_a_notebooks_overrides_are_settings_or_are_refused(load, settings, words):
    with pytest.raises(UserError) as error:
        load("smoke", **settings)
    assert words in str(error.value) and "\n" not in str(error.value)
    taken = load("smoke", seed=3, overrides={"poisoner.eps": 0.03})
    assert taken == load("smoke", seed=3, eps=0.03)


def test_a_notebook_shows_the_sentence_alone():
    assert UserError("Do this.")._render_traceback_() == ["UserError: Do this."]


def test_stage_b_may_take_more_faces_than_stage_a():
    config = load_config("smoke", **{"editor.batch": 2, "poisoner.batch": 8})
    assert (config.editor.batch, config.poisoner.batch) == (2, 8)


# What makes a training another one


@SCENARIOS
def test_lengths_may_change_within_a_training(load):
    config = load("smoke")
    lengths = [name for name in setting_names(type(config)) if name.endswith("iterations")]
    lengths += ["checkpoint_every"]
    assert config.changed(**dict.fromkeys(lengths, 77)).identity() == config.identity()
    assert config.changed(seed=1).identity() != config.identity()
    assert config.changed(eps=0.03).identity() != config.identity()


def test_identity_names_all_but_the_free_settings():
    config, flat = load_config("smoke"), set()
    for name, value in config.identity().items():
        flat |= {f"{name}.{inner}" for inner in value} if isinstance(value, dict) else {name}
    free = {"checkpoint_every", "live_iterations", "skip_bad", "weights_folder"}
    free |= {f"{part}.iterations" for part in ("editor", "poisoner", "judge")}
    assert flat == set(setting_names(Config)) - free


def test_differences_are_named_in_full_and_lead_back():
    config = load_config("smoke")
    differences = config.differences()
    assert differences["poisoner.lambda_dom"] == 0.01 and "editor.n_critic" in differences
    assert "poisoner.eps" not in differences and "poisoner" not in differences
    assert Config().changed(**differences) == config
