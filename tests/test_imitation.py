"""SM imitates the forger's answers to queries, in place of stage A."""

import pytest
import torch
from compare import copied, same, shaken

from idf.config import load_config
from idf.data.faces import open_faces
from idf.editing import make_training, train
from idf.imitation import imitate, queries, update_imitation

CONFIG = load_config("smoke", **{"poisoner.iterations": 8, "poisoner.every": 2})


@pytest.fixture(scope="module")
def faces():
    return open_faces(CONFIG, "surrogate"), open_faces(CONFIG, "validation")


def test_queries_add_noise_of_one_band_to_every_other_image(faces):
    x, eps = faces[0].batch(0, 4, 0)[0] / 2, 0.05
    seen = set()
    for seed in range(12):
        asked = queries(x, eps, torch.Generator().manual_seed(seed))
        noise = asked - x
        assert not noise[::2].any()
        [strength] = (noise[1::2].abs() / eps).round().unique().tolist()
        seen.add(strength)
        assert torch.equal(asked, queries(x, eps, torch.Generator().manual_seed(seed)))
    assert seen == {1, 2, 4}


def test_queries_keep_to_the_range():
    x = torch.ones(4, 3, 32, 32)
    for seed in range(4):
        assert queries(x, 0.05, torch.Generator().manual_seed(seed)).abs().max() <= 1


def test_imitation_learns_the_targets_answers_and_leaves_it_alone(faces):
    run = make_training(CONFIG)
    target = shaken(run.surrogate, by=0.05)
    before, (x, c) = copied(target), faces[1].batch(0, 8, 0)

    def difference():
        return (run.surrogate(x, c) - target(x, c)).abs().mean().item()

    start = difference()
    train(run, *faces, imitate(target), quiet=True)
    assert difference() < 0.9 * start and same(target, before)
    recorded = set().union(*run.history)
    assert {"imitation", "pg_bs"} <= recorded and not {"sm_adv", "d_a_adv"} & recorded
    assert same(run.d_a, copied(make_training(CONFIG).d_a)), "M has no D_A that SM could know"


def test_the_target_is_a_black_box(faces):
    run = make_training(CONFIG)
    x, c = faces[0].batch(0, 4, 0)
    loss = update_imitation(run, lambda x, c: -x, x, c.flip(0))["imitation"]
    assert loss.item() > 0


def test_imitation_asks_once_an_iteration_with_the_runs_own_draws(faces):
    asked = []

    def target(x, c):
        assert not torch.is_grad_enabled()
        asked.append((x, c))
        return x

    for _ in range(2):
        torch.rand(3)
        train(make_training(CONFIG), *faces, imitate(target), until=3, quiet=True)
    assert len(asked) == 6
    for first, second in zip(asked[:3], asked[3:], strict=True):
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
