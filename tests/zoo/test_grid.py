"""The editors and PGs of Table 1: who they are, and how each is trained."""

import pytest
import torch

from idf.config import DOMAINS, UserError, load_config
from idf.data.faces import open_faces
from idf.zoo import grid
from idf.zoo.grid import EDITORS, POISONERS
from idf.zoo.manifest import read_manifest

CONFIG = load_config("smoke", **{"editor.iterations": 2})


def test_every_architecture_has_a_surrogate_and_forgers_of_both_domains():
    for network in grid.NETWORKS:
        own = [editor for editor in EDITORS.values() if editor.network == network]
        assert [editor.setting for editor in own if editor.is_surrogate] == ["SD"]
        seeds = 3 if network == "Res6" else 1
        for setting in ("SD", "DD"):
            targets = [e for e in own if e.setting == setting and not e.is_surrogate]
            assert [editor.seed for editor in targets] == list(range(1, seeds + 1))


def test_no_two_editors_of_an_architecture_share_initial_weights():
    for network in grid.NETWORKS:
        own = [editor for editor in EDITORS.values() if editor.network == network]
        assert len({editor.config(CONFIG).seed for editor in own}) == len(own)
    forger = EDITORS["editor_Res6_DD_2"].config(CONFIG)
    assert forger.domains == DOMAINS["procedural"]["DD"]
    # the rest is one recipe
    assert forger.changed(seed=CONFIG.seed, domains=CONFIG.domains) == CONFIG


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
    critic = {"critic_Res6_SD_0"} if part == "surrogate" else set()
    assert written == {f"editor_{name}", *critic}


def test_a_training_that_begins_in_negative_is_begun_again(monkeypatch, tmp_path):
    answers = iter([False, False, True])
    monkeypatch.setattr(grid, "LOOK", 1)
    monkeypatch.setattr(grid, "looks_upright", lambda run, faces: next(answers))
    editor, work = EDITORS["editor_Res6_SD_1"], tmp_path / "work"
    editor.train(CONFIG, work, tmp_path)
    entry = read_manifest(tmp_path)[editor.name]
    assert entry["attempt"] == 2 and entry["seed"] == editor.config(CONFIG).seed
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


def test_trainings_that_all_begin_in_negative_are_given_up_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(grid, "LOOK", 1)
    monkeypatch.setattr(grid, "looks_upright", lambda run, faces: False)
    with pytest.raises(UserError, match="5 trainings in a row began in negative: lower editor.lr"):
        EDITORS["editor_Res6_SD_1"].train(CONFIG, tmp_path / "work", tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_all_pgs_have_the_papers_ratio_of_steps():
    for method in POISONERS:
        own = grid.poisoner_config(CONFIG, method, 1)
        assert (own.poisoner.every, own.editor.n_critic, own.seed) == (1, 5, CONFIG.seed + 1)
        assert (own.poisoner.keys > 0) == method.startswith("keyless")


@pytest.mark.parametrize("method", POISONERS)
def test_alternation_moves_sm_and_its_absence_does_not(method, monkeypatch, tmp_path):
    monkeypatch.setattr(grid, "OTHERS", ("editor_CNet_SD_0",))
    for name in (grid.SURROGATE, *grid.OTHERS):
        EDITORS[name].train(CONFIG, tmp_path / "work", tmp_path)
    runs = []
    make = grid.make_training

    def kept(*arguments, **options):
        runs.append(make(*arguments, **options))
        return runs[-1]

    monkeypatch.setattr(grid, "make_training", kept)
    config = CONFIG.changed(**{"editor.iterations": 100})
    grid.train_grid_poisoner(config, method, 0, tmp_path / "work", tmp_path)
    before = EDITORS["editor_Res6_SD_0"].load(CONFIG, tmp_path)
    same = all(
        torch.equal(p.half(), q.half())
        for p, q in zip(before.parameters(), runs[0].surrogate.parameters(), strict=True)
    )
    assert same == method.endswith("no-ats")
    assert len(runs[0].others) == (1 if method.startswith("keyless") else 0)
    grid.load_grid_poisoner(CONFIG, method, 0, tmp_path)
