"""Who forges: an editor by its name, with its domains and its columns of the judge."""

import pytest
import torch
from compare import weights

from idf.config import DOMAINS, UserError, load_config
from idf.data.faces import open_faces
from idf.data.files import save_tensors
from idf.networks import Judge
from idf.zoo.forgers import editors_that_ship, grid_editor, make_forger, make_forgers
from idf.zoo.grid import EDITORS, GRAY_BOX, TUNED
from idf.zoo.load import SURROGATE, judged_domains, load_judge, make_editor

SMOKE = load_config("smoke")
STORED = (SURROGATE, "editor_Res6_SD_1", "editor_CNet_DD_1", TUNED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A judge and four editors, untrained."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(STORED):
        torch.manual_seed(seed)
        own = EDITORS[name]
        editor = make_editor(own.config(SMOKE), own.network)
        save_tensors(folder / f"{name}.safetensors", editor.state_dict(), half=True)
    judge = Judge(len(judged_domains(SMOKE)), SMOKE.judge.width)
    save_tensors(folder / "judge.safetensors", judge.state_dict(), half=True)
    return folder


@pytest.mark.parametrize("function", [grid_editor, lambda name: make_forger(SMOKE, name)])
def test_an_unknown_forger_is_named_beside_the_known_ones(function):
    with pytest.raises(UserError, match="^Unknown forger 'alone': use one of ") as error:
        function("alone")
    said = str(error.value)
    assert said.endswith(f"{', '.join(EDITORS)}.") and "\n" not in said


def test_a_forger_has_the_editor_of_its_name(folder):
    forgers = make_forgers(SMOKE, STORED, folder)
    for name, forger in forgers.items():
        assert torch.equal(weights(forger.editor), weights(EDITORS[name].load(SMOKE, folder)))
    assert len({weights(forger.editor).sum().item() for forger in forgers.values()}) == 4
    assert [forger.name for forger in forgers.values()] == ["Res6", "Res6", "CNet", "Res6-tuned"]


def test_a_forger_is_judged_by_the_columns_of_its_domains(folder):
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    judged, logits = judged_domains(SMOKE), load_judge(SMOKE, folder)(x)
    for name, forger in make_forgers(SMOKE, STORED, folder).items():
        setting = "DD" if "_DD_" in name else "SD"
        assert forger.domains == DOMAINS["procedural"][setting] and forger.setting == setting
        columns = [judged.index(domain) for domain in forger.domains]
        assert torch.equal(forger.judge(x), logits[:, columns])


def test_only_editors_with_weights_are_made(folder, tmp_path):
    stored = [name for name in EDITORS if name in STORED]  # in the table's order
    assert editors_that_ship(SMOKE, folder=folder) == stored
    assert list(make_forgers(SMOKE, EDITORS, folder)) == stored
    assert list(make_forgers(SMOKE, ("editor_Res6_SD_2", TUNED), folder)) == [TUNED]
    assert editors_that_ship(SMOKE, folder=tmp_path) == []
    assert make_forgers(SMOKE, EDITORS, tmp_path) == {}


def test_by_default_the_shipped_editors_are_asked_for(folder, monkeypatch):
    monkeypatch.setattr("idf.config.Config.weights", folder)
    assert editors_that_ship(SMOKE, STORED[1:3]) == list(STORED[1:3])


@pytest.mark.parametrize("name", GRAY_BOX)
def test_the_shipped_editors_and_judge_agree_on_faces_they_never_saw(name):
    """Preset demo's weights: most edits are seen, and the judge is right."""
    config = load_config("demo", faces=240)
    forger = make_forger(config, name)
    _, x, c = next(open_faces(config, "test", limit=16).in_order(16))
    with torch.no_grad():
        right = (forger.judge(x) > 0) == c.bool()
        targets = forger.targets(c)
        y = forger.editor(x, targets[4])  # the smile flipped
        smiles = forger.judge(y)[:, 4] > 0
    assert right.float().mean() > 0.9
    assert (smiles == targets[4][:, 4].bool()).float().mean() > 0.6
