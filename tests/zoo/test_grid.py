"""The editors and PGs of Table 1: who they are, and how each is trained."""

import pytest
import torch
from compare import weights

from idf import losses
from idf.config import DOMAINS, PRESETS, UserError, load_config
from idf.data.faces import open_faces
from idf.zoo import grid
from idf.zoo.grid import EDITORS, GRAY_BOX, POISONERS, TUNED, VARIANTS
from idf.zoo.load import CRITIC, SURROGATE, load_surrogate
from idf.zoo.manifest import read_manifest

CONFIG = load_config("smoke", **{"editor.iterations": 8, "poisoner.iterations": 12})
FORGERS = [editor for editor in EDITORS.values() if not editor.is_surrogate]


# Who they are


def test_no_two_editors_read_alike():
    for words in ("name", "label"):
        assert len({getattr(editor, words) for editor in EDITORS.values()}) == len(EDITORS)
    places = {(editor.kind, editor.setting, editor.seed) for editor in EDITORS.values()}
    assert len(places) == len(EDITORS), "a row says which editor it is of"
    assert all(editor.name == name for name, editor in EDITORS.items())


def test_there_is_one_surrogate_and_forgers_of_every_architecture_and_both_domains():
    assert [e.name for e in EDITORS.values() if e.is_surrogate] == [SURROGATE]
    for network in grid.NETWORKS:
        for setting in ("SD", "DD"):
            own = [e for e in FORGERS if (e.network, e.setting) == (network, setting)]
            seeds = [editor.seed for editor in own if not editor.variant]
            assert seeds == list(range(1, 4 if network == "Res6" else 2))


def test_the_names_that_others_use_are_of_editors():
    gray_box = [EDITORS[name] for name in GRAY_BOX]
    assert {(editor.kind, editor.setting) for editor in gray_box} == {("Res6", "SD")}
    assert [editor.seed for editor in gray_box] == [1, 2, 3]
    assert grid.QUERIED == dict(zip(grid.SEEDS, GRAY_BOX, strict=True))
    assert CRITIC not in EDITORS and set(grid.OTHERS) <= set(EDITORS)


def test_every_variant_of_the_recipe_is_beside_the_first_gray_box_forger():
    for variant in VARIANTS:
        [editor] = [e for e in EDITORS.values() if e.variant == variant]
        assert editor.name == f"{GRAY_BOX[0]}_{variant}" and editor.kind == f"Res6-{variant}"
        assert VARIANTS[variant].label in editor.label
    assert EDITORS[TUNED].variant == "tuned"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_variant_changes_what_it_says_and_no_more(preset):
    config = load_config(preset)
    plain = EDITORS[GRAY_BOX[0]].config(config)
    changed = {e.variant: e.config(config) for e in EDITORS.values() if e.variant}
    length = max(1, config.editor.iterations // 4)
    assert changed["tuned"] == plain.changed(editor={"iterations": length})
    assert changed["wide"] == plain.changed(editor={"width": 2 * config.editor.width})
    noise = changed["codeless"].editor.noise
    assert noise > 0 and changed["codeless"].changed(noise=config.editor.noise) == plain


def test_no_two_editors_of_an_architecture_share_initial_weights():
    for network in grid.NETWORKS:
        own = [e for e in EDITORS.values() if e.network == network and not e.variant]
        assert len({editor.config(CONFIG).seed for editor in own}) == len(own)
    forger = EDITORS["editor_Res6_DD_2"].config(CONFIG)
    assert forger.domains == DOMAINS["procedural"]["DD"]
    # the rest is one recipe
    assert forger.changed(seed=CONFIG.seed, domains=CONFIG.domains) == CONFIG


# How an editor is trained


@pytest.mark.parametrize("name, part", [("Res6_SD_0", "surrogate"), ("CNet_SD_1", "target")])
def test_forgers_have_faces_of_their_own(name, part, monkeypatch, tmp_path):
    opened = []

    def watched(config, part):
        opened.append(part)
        return open_faces(config, part)

    monkeypatch.setattr(grid, "open_faces", watched)
    EDITORS[f"editor_{name}"].train(CONFIG, tmp_path / "work", tmp_path)
    assert opened == [part]
    written = {file.stem for file in tmp_path.glob("*.safetensors")}
    critic = {CRITIC} if part == "surrogate" else set()
    assert written == {f"editor_{name}", *critic}


@pytest.fixture
def begun(monkeypatch):
    """What each training that the grid begins starts from: the weights of its editor and D_A."""
    starts = []
    make = grid.make_training

    def watched(*arguments, **options):
        run = make(*arguments, **options)
        starts.append((weights(run.surrogate), weights(run.d_a)))
        return run

    monkeypatch.setattr(grid, "make_training", watched)
    return starts


@pytest.fixture
def surrogate(tmp_path):
    """A folder with a surrogate and its D_A; their weights."""
    EDITORS[SURROGATE].train(CONFIG, tmp_path / "work", tmp_path)
    return tuple(weights(network) for network in load_surrogate(CONFIG, tmp_path))


def test_the_tuned_forger_trains_the_surrogate_on_for_a_quarter(surrogate, begun, tmp_path):
    EDITORS[TUNED].train(CONFIG, tmp_path / "work", tmp_path)
    [(editor, d_a)] = begun
    assert torch.equal(editor, surrogate[0]) and torch.equal(d_a, surrogate[1])
    entry = read_manifest(tmp_path)[TUNED]
    assert entry["iterations"] == CONFIG.editor.iterations // 4
    assert not torch.equal(weights(EDITORS[TUNED].load(CONFIG, tmp_path)), editor)
    assert torch.equal(weights(EDITORS[SURROGATE].load(CONFIG, tmp_path)), editor)


def test_without_a_surrogate_the_tuned_forger_says_what_it_lacks(tmp_path):
    with pytest.raises(UserError, match="No weights at .*editor_Res6_SD_0"):
        EDITORS[TUNED].train(CONFIG, tmp_path / "work", tmp_path)


def test_a_training_that_begins_in_negative_is_begun_again(monkeypatch, begun, tmp_path):
    answers = iter([False, False, True])
    monkeypatch.setattr(grid, "LOOK", 1)
    monkeypatch.setattr(grid, "looks_upright", lambda run, faces: next(answers))
    editor, work = EDITORS["editor_Res6_SD_1"], tmp_path / "work"
    editor.train(CONFIG, work, tmp_path)
    entry = read_manifest(tmp_path)[editor.name]
    assert entry["attempt"] == 2 and entry["seed"] == editor.config(CONFIG).seed
    assert len({start.sum().item() for start, _ in begun}) == 3, "from other initial weights"
    assert sorted(p.name for p in work.iterdir()) == [
        editor.name,
        f"{editor.name}-1",
        f"{editor.name}-2",
    ]

    # a stopped training goes on with the attempt that it had come to
    again = iter([False, False, True])
    monkeypatch.setattr(grid, "looks_upright", lambda run, faces: next(again))
    editor.train(CONFIG, work, tmp_path / "again")
    assert read_manifest(tmp_path / "again")[editor.name]["sha256"] == entry["sha256"]


def test_a_tuned_forger_begun_again_begins_from_the_surrogate(
    surrogate, begun, monkeypatch, tmp_path
):
    answers = iter([False, True])
    monkeypatch.setattr(grid, "LOOK", 1)
    monkeypatch.setattr(grid, "looks_upright", lambda run, faces: next(answers))
    EDITORS[TUNED].train(CONFIG, tmp_path / "work", tmp_path)
    assert len(begun) == 2 and all(torch.equal(start, surrogate[0]) for start, _ in begun)


def test_trainings_that_all_begin_in_negative_are_given_up_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(grid, "LOOK", 1)
    monkeypatch.setattr(grid, "looks_upright", lambda run, faces: False)
    with pytest.raises(UserError, match="5 trainings in a row began in negative: lower editor.lr"):
        EDITORS["editor_Res6_SD_1"].train(CONFIG, tmp_path / "work", tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_forger_looks_if_its_forgeries_are_in_negative(sign, monkeypatch):
    monkeypatch.setattr(losses, "forge", lambda editor, x, targets: (sign * x).expand(5, *x.shape))
    run = grid.make_training(CONFIG)
    assert grid.looks_upright(run, open_faces(CONFIG, "target")) == (sign > 0)


# How a PG is trained


@pytest.mark.parametrize("method", POISONERS)
def test_pgs_have_the_papers_ratio_of_steps_but_for_queries(method):
    own = grid.poisoner_config(CONFIG, method, 1)
    assert own.seed == CONFIG.seed + 1
    assert (own.poisoner.keys > 0) == method.startswith("keyless")
    if method == "ours-queries":
        assert own.poisoner.every == 4
    else:
        assert (own.poisoner.every, own.editor.n_critic) == (1, 5)
    knows_d_a = method not in grid.OF_ONE_FORGER
    assert (own.poisoner.lambda_dom > 0) == knows_d_a


@pytest.mark.parametrize("method", POISONERS)
def test_a_pg_has_the_presets_number_of_steps_but_for_a_keyless_ones_half(method):
    own, keyless = grid.poisoner_config(CONFIG, method, 0), method.startswith("keyless")
    steps = own.poisoner.iterations // own.poisoner.every
    assert steps == CONFIG.poisoner.iterations // (2 if keyless else 1)
    assert own.poisoner.width == CONFIG.poisoner.width * (4 if keyless else 1)


def test_the_shortest_training_has_an_iteration():
    short = CONFIG.changed(**{"poisoner.iterations": 1})
    for method in POISONERS:
        assert grid.poisoner_config(short, method, 0).poisoner.iterations >= 1


@pytest.mark.parametrize("method", POISONERS)
def test_alternation_moves_sm_and_its_absence_does_not(method, monkeypatch, tmp_path):
    monkeypatch.setattr(grid, "OTHERS", ("editor_CNet_SD_1",))
    for name in (SURROGATE, *grid.OTHERS, grid.QUERIED[0]):
        EDITORS[name].train(CONFIG, tmp_path / "work", tmp_path)
    runs = []
    make = grid.make_training

    def kept(*arguments, **options):
        runs.append(make(*arguments, **options))
        return runs[-1]

    monkeypatch.setattr(grid, "make_training", kept)
    grid.train_grid_poisoner(CONFIG, method, 0, tmp_path / "work", tmp_path)
    attacked = grid.QUERIED[0] if method == "one-pass" else SURROGATE
    before = weights(EDITORS[attacked].load(CONFIG, tmp_path))
    moved = not torch.equal(before, weights(runs[0].surrogate))
    assert moved != (method in grid.FROZEN)
    assert len(runs[0].others) == (1 if method.startswith("keyless") else 0)
    grid.load_grid_poisoner(CONFIG, method, 0, tmp_path)


def test_queries_are_counted_and_say_whom_they_went_to(tmp_path):
    forger = grid.QUERIED[1]
    for name in (SURROGATE, forger):
        EDITORS[name].train(CONFIG, tmp_path / "work", tmp_path)
    grid.train_grid_poisoner(CONFIG, "ours-queries", 1, tmp_path / "work", tmp_path)
    entry = read_manifest(tmp_path)["poisoner_ours-queries_1"]
    own = grid.poisoner_config(CONFIG, "ours-queries", 1)
    assert (entry["method"], entry["queried"]) == ("ours-queries", "editor_Res6_SD_2")
    assert entry["iterations"] == own.poisoner.iterations
    assert entry["queries"] == own.poisoner.iterations * own.editor.batch
    assert entry["settings"]["poisoner.lambda_dom"] == 0, "it has no D_A that we could know"


def test_a_pg_against_a_forgers_own_editor_says_whose(tmp_path):
    forger = grid.QUERIED[2]
    EDITORS[forger].train(CONFIG, tmp_path / "work", tmp_path)
    grid.train_grid_poisoner(CONFIG, "one-pass", 2, tmp_path / "work", tmp_path)
    entry = read_manifest(tmp_path)["poisoner_one-pass_2"]
    assert (entry["method"], entry["target"]) == ("one-pass", "editor_Res6_SD_3")
    assert "queried" not in entry and entry["iterations"] == CONFIG.poisoner.iterations
    assert grid.needs_of_poisoner("one-pass", 2) == (forger,)
