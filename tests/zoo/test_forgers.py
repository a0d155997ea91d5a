"""The table of attackers, each with its editor, its domains and its columns of the judge."""

import pytest
import torch

from idf.config import DOMAINS, UserError, load_config
from idf.data.faces import open_faces
from idf.zoo import forgers
from idf.zoo.forgers import ATTACKERS, attackers_that_ship, load_attacker, make_forger, make_forgers
from idf.zoo.load import judged_domains, load_judge, load_surrogate, load_target

CONFIG = load_config("demo", faces=240)


def test_no_two_attackers_read_alike():
    for words in ("key", "heading", "label", "about"):
        assert len({getattr(one, words) for one in ATTACKERS.values()}) == len(ATTACKERS)
    assert len({(one.target, one.setting) for one in ATTACKERS.values()}) == len(ATTACKERS)
    assert list(ATTACKERS) == ["apart", "tuned", "surrogate", "apart-DD"]


@pytest.mark.parametrize("function", [make_forger, load_attacker, forgers.domains_config])
def test_an_unknown_forger_is_named_beside_the_known_ones(function):
    words = "^Unknown forger 'alone': use one of apart, tuned, surrogate, apart-DD"
    with pytest.raises(UserError, match=words):
        function(CONFIG, "alone")


def same(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def test_each_attacker_is_the_network_its_key_says():
    assert same(load_attacker(CONFIG, "apart"), load_target(CONFIG))
    assert same(load_attacker(CONFIG, "tuned"), load_target(CONFIG, tuned=True))
    assert same(load_attacker(CONFIG, "surrogate"), load_surrogate(CONFIG)[0])
    other = CONFIG.changed(domains=DOMAINS["procedural"]["DD"])
    assert same(load_attacker(CONFIG, "apart-DD"), load_target(other))
    assert not same(load_target(CONFIG), load_target(other))


def test_a_forger_is_judged_by_the_columns_of_its_domains():
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    judged, logits = judged_domains(CONFIG), load_judge(CONFIG)(x)
    for key, forger in make_forgers(CONFIG).items():
        setting = ATTACKERS[key].setting
        assert forger.domains == DOMAINS["procedural"][setting] and forger.setting == setting
        assert forger.name == ATTACKERS[key].target
        columns = [judged.index(name) for name in forger.domains]
        assert torch.equal(forger.judge(x), logits[:, columns])


def test_only_attackers_with_weights_are_made(tmp_path):
    assert list(make_forgers(CONFIG)) == list(ATTACKERS)
    photos = load_config("demo", data_root="photos")
    assert list(make_forgers(photos)) == ["apart", "tuned", "surrogate"]
    assert attackers_that_ship(CONFIG, tmp_path) == [] and make_forgers(CONFIG, tmp_path) == {}
    (tmp_path / "target_Res6_DD.safetensors").touch()
    assert attackers_that_ship(CONFIG, tmp_path) == ["apart-DD"]
    of_cnet = CONFIG.changed(**{"target.network": "CNet"})
    assert attackers_that_ship(of_cnet) == ["surrogate"]


def test_the_shipped_editors_and_judge_agree_on_faces_they_never_saw():
    """Preset demo's weights: most edits are seen, and the judge is right."""
    forger = make_forger(CONFIG, "apart")
    _, x, c = next(open_faces(CONFIG, "test", limit=16).in_order(16))
    with torch.no_grad():
        right = (forger.judge(x) > 0) == c.bool()
        targets = forger.targets(c)
        y = forger.editor(x, targets[4])  # the smile flipped
        smiles = forger.judge(y)[:, 4] > 0
    assert right.float().mean() > 0.9
    assert (smiles == targets[4][:, 4].bool()).float().mean() > 0.6
