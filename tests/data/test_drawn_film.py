"""The procedural film: one person, who moves smoothly, speaks and blinks."""

import torch

from idf.data.drawn.film import FPS, motion, talking_face


def test_the_procedural_film_is_one_person_who_moves():
    batch = talking_face(12, range(100), 64)
    assert batch.attributes.float().std(0).max() == 0, "one person"
    steps = (batch.landmarks[1:] - batch.landmarks[:-1]).norm(dim=-1)
    assert 0.05 < steps.mean() < 1.5 and steps.max() < 5, "smooth, at 64 px"
    gap = batch.landmarks[:, 66, 1] - batch.landmarks[:, 62, 1]
    eye = batch.landmarks[:, 41, 1] - batch.landmarks[:, 37, 1]
    for opening in (gap, eye):
        assert opening.min() < 0.3 and opening.max() > 2, "the lips and the eyes close"


def test_a_frame_depends_on_person_and_time_alone():
    whole = talking_face(5, range(40, 60), 48)
    alone = talking_face(5, [47], 48)
    assert torch.equal(whole.images[7], alone.images[0])
    assert torch.equal(whole.labels[7], alone.labels[0])
    assert not torch.equal(alone.images, talking_face(6, [47], 48).images)


def test_speech_pauses_and_never_repeats():
    t = torch.arange(2000, dtype=torch.float64) / FPS
    gap = motion(12, t)["gap"]
    assert 0.1 < (gap == 0).float().mean() < 0.8
    spectrum = torch.fft.rfft(gap - gap.mean()).abs()
    assert spectrum.max() ** 2 < 0.2 * (spectrum**2).sum(), "no single beat"
    assert all(value.isfinite().all() and len(value) == 2000 for value in motion(12, t).values())


def test_attributes_are_forced_on_the_person():
    plain, hat = (talking_face(12, [0, 40], 48, Wearing_Hat=value) for value in (False, True))
    assert not torch.equal(plain.images, hat.images) and torch.equal(plain.landmarks, hat.landmarks)
