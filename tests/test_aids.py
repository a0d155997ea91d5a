"""The aids of stage A: what D_A is shown, what its class head meets, the identity term."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from idf import editing, losses
from idf.aids import adversarial_faces, augment
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


def fits(crop, image):
    """(contrast, brightness) that make image of crop, or None."""
    crop, image = crop.flatten(), image.flatten()
    contrast = torch.cov(torch.stack([crop, image]))[0, 1] / crop.var()
    brightness = image.mean() - contrast * crop.mean()
    if (contrast * crop + brightness - image).abs().max() < 1e-4:
        return contrast.item(), brightness.item()
    return None


def test_augment_shifts_and_relights_alone():
    x = torch.rand(6, 3, 32, 32, generator=seeded(0)) * 2 - 1
    seen = augment(x, seeded(7))
    assert torch.equal(seen, augment(x, seeded(7)))
    assert not torch.equal(seen, augment(x, seeded(8)))
    padded = F.pad(x, (4, 4, 4, 4), mode="replicate")
    for image, own in zip(seen, padded, strict=True):
        crops = [own[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
        [(contrast, brightness)] = [fit for crop in crops if (fit := fits(crop, image))]
        assert 0.8 <= contrast <= 1.2 and abs(brightness) <= 0.2


def test_augment_passes_gradients_to_every_pixel_it_shows():
    x = torch.zeros(2, 3, 32, 32, requires_grad=True)
    augment(x).sum().backward()
    assert (x.grad[:, :, 8:-8, 8:-8] > 0).all()


@pytest.mark.parametrize("chosen", [True, False])
def test_augment_is_a_setting_that_both_players_follow(batch, monkeypatch, chosen):
    generators = []
    monkeypatch.setattr(
        editing, "augment", lambda images, generator: generators.append(generator) or images
    )
    x, c = batch
    run = make_training(CONFIG.changed(augment=chosen))
    run.generator = seeded(0)
    editing.update_d_a(run, x, c, c.flip(0), HALF)
    editing.update_editor(run, x, c, c.flip(0))
    # the run's own draws: another seed or process sees other shifts
    assert generators == ([run.generator] * 3 if chosen else [])


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


def test_the_identity_term_asks_for_no_change_under_the_own_label(batch):
    x, c = batch
    run = make_training(CONFIG.changed(lambda_idt=5.0))
    expected = (x - run.surrogate(x, c)).abs().mean().item()
    terms = editing.update_editor(run, x, c, c.flip(0))
    assert terms["sm_idt"].item() == pytest.approx(expected, rel=1e-4)
    assert "sm_idt" not in editing.update_editor(make_training(CONFIG), x, c, c.flip(0))


@pytest.mark.parametrize("iteration, acts", [(0, True), (5, True), (6, False), (11, False)])
def test_the_identity_term_ends_with_its_share_of_the_training(batch, iteration, acts):
    x, c = batch
    run = make_training(CONFIG.changed(lambda_idt=5.0, idt_share=0.5))  # of 12 iterations
    run.iteration = iteration
    assert ("sm_idt" in editing.update_editor(run, x, c, c.flip(0))) == acts


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


def test_balanced_batches_are_a_setting():
    drawn = []
    for balance in (True, False):
        config = CONFIG.changed(balance=balance)
        faces, run = open_faces(config, "surrogate"), make_training(config)
        run.generator = seeded(0)
        x, c, c_trg, *alphas = editing.draw(run, faces)
        expected = faces.batch(0, config.editor.batch, run.seed, balance=balance)
        assert_close((x, c), expected, rtol=0, atol=0)
        assert sorted(c_trg.tolist()) == sorted(c.tolist())
        assert all(a.shape == (4, 1, 1, 1) and 0 <= a.min() and a.max() <= 1 for a in alphas)
        drawn.append(x)
    assert not torch.equal(*drawn)
