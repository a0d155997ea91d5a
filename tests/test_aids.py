"""What stage A may have beyond StarGAN: a class head that meets adversarial faces, noise."""

import pytest
import torch
from torch.testing import assert_close

from idf import editing, losses
from idf.aids import adversarial_faces
from idf.config import load_config
from idf.data.faces import open_faces
from idf.editing import make_training

CONFIG = load_config("smoke")
HALF = torch.full((4, 1, 1, 1), 0.5)


@pytest.fixture(scope="module")
def batch():
    return open_faces(CONFIG, "surrogate").batch(0, 4, 0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_adversarial_faces_are_near_and_classed_worse(batch):
    x, c = batch
    d_a = make_training(CONFIG).d_a
    moved = adversarial_faces(d_a, x, c, 0.1, seeded(0))
    reach = (moved - x).abs().amax((1, 2, 3))
    share = torch.rand(len(x), 1, 1, 1, generator=seeded(0)).flatten()
    assert_close(reach, 0.1 * share, rtol=1e-3, atol=1e-5)
    clean = losses.classification(d_a(x)[1], c)
    assert losses.classification(d_a(moved)[1], c) > clean and not moved.requires_grad
    assert all(p.grad is None and p.requires_grad for p in d_a.parameters())


@pytest.mark.parametrize("robust", [0.0, 0.5])
def test_a_robust_head_learns_from_adversarial_faces_too(batch, robust):
    x, c = batch
    run = make_training(CONFIG.changed(robust=robust))
    clean = losses.classification(run.d_a(x)[1], c).item()
    faces, labels = x, c
    if robust:
        moved = adversarial_faces(run.d_a, x, c, robust, seeded(1))
        faces, labels = torch.cat([x, moved]), torch.cat([c, c])
    expected = losses.classification(run.d_a(faces)[1], labels).item()

    run.generator = seeded(1)
    measured = editing.update_d_a(run, x, c, c.flip(0), HALF)["d_a_cls"].item()
    assert measured == pytest.approx(expected, rel=1e-4)
    assert (measured > clean * (1 + 1e-6)) == bool(robust)


def test_the_way_back_may_be_made_noisy(batch):
    x, c = batch
    lost = {}
    for noise in (0.0, 0.5):
        run = make_training(CONFIG.changed(noise=noise))
        run.generator = seeded(1)
        y = run.surrogate(x, c.flip(0))
        added = noise * torch.randn(y.shape, generator=seeded(1))
        expected = (x - run.surrogate(y + added, c)).abs().mean().item()
        lost[noise] = editing.update_editor(run, x, c, c.flip(0))["sm_rec"].item()
        assert lost[noise] == pytest.approx(expected, rel=1e-4)
    assert lost[0.0] != lost[0.5]
