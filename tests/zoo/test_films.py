"""Forgers of films: the floor, PG by its name, what is published, rows of an experiment."""

import numpy as np
import pytest
import torch

from idf import metrics
from idf.config import UserError, load_film_config
from idf.data.drawn.film import talking_face
from idf.data.film import open_film
from idf.data.landmarks import draw_landmarks
from idf.data.pictures import to_model
from idf.forger import forge_frames
from idf.methods import of_scenario
from idf.zoo import films
from idf.zoo.film_recipes import FORGERS
from idf.zoo.films import (
    experiment,
    film_protection,
    is_published_clean,
    masks_of,
    poisoner_for,
    published_film,
    train_forger,
)
from idf.zoo.load import load_film_forger

CONFIG = load_film_config("smoke")


@pytest.fixture(scope="module")
def film():
    return open_film(CONFIG)


class Nothing(torch.nn.Module):
    """A PG whose delta is 0."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, generator=None):
        return torch.zeros_like(x)


def equal(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


# Forgers


def test_only_the_frames_differ_between_reseed_and_a_method(film, tmp_path):
    """On frames that nothing was done to, a method's forger is the reseeded one, bit for bit."""
    reseed, _ = train_forger("reseed", CONFIG, film, "Res6", tmp_path, quiet=True)
    ours, published = train_forger("ours", CONFIG, film, "Res6", tmp_path, Nothing(), quiet=True)
    assert np.array_equal(published.images, film.part("train").images)
    assert equal(reseed, ours)
    clean, _ = train_forger("clean", CONFIG, film, "Res6", tmp_path, quiet=True)
    assert not equal(clean, reseed)


def test_each_forger_has_a_folder_that_says_what_it_is(film, tmp_path):
    for method in ("clean", "reseed", "brightened"):
        train_forger(method, CONFIG, film, "CNet", tmp_path, quiet=True)
    louder = CONFIG.changed(eps=0.05)
    train_forger("brightened", louder, film, "CNet", tmp_path, quiet=True)
    kept = {path.name for path in tmp_path.iterdir()}
    names = {"clean-0", "reseed-1000", "brightened-1000-eps0.02", "brightened-1000-eps0.05"}
    assert kept == {f"CNet-{name}" for name in names}
    train_forger("clean", louder, film, "CNet", tmp_path, quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == kept, "a clean film knows no eps"


def test_a_finished_forger_is_read_instead_of_trained(film, tmp_path, monkeypatch):
    first, _ = train_forger("clean", CONFIG, film, "CNet", tmp_path, quiet=True)
    monkeypatch.setattr("idf.forger.update_reenactor", None)
    again, _ = train_forger("clean", CONFIG, film, "CNet", tmp_path, quiet=True)
    assert equal(first, again)


# What is published


def test_what_a_forger_reads_of_others():
    assert films.needs("clean", "CNet", CONFIG) == []
    assert films.needs("ours", "CNet", CONFIG) == [("CNet", "clean")]
    surrogate = CONFIG.forger.network
    of_no_ats = [("CNet", "clean"), (surrogate, "clean")]
    assert films.needs("ours-no-ats", "CNet", CONFIG) == of_no_ats
    assert films.needs("ours-no-ats", surrogate, CONFIG) == [(surrogate, "clean")]


def test_controls_are_published_within_eps(film, tmp_path):
    train = film.part("train")
    for method, one in of_scenario(2).items():
        if method.startswith("ours") or one.make is None:
            continue
        published = published_film(method, film, film_protection(method, CONFIG, film, tmp_path))
        change = (published.x() - train.x()).abs().max()
        if is_published_clean(method):
            assert change == 0
        else:
            assert 0 < change <= CONFIG.poisoner.eps + 1 / 255 + 1e-6
        shifted = train.landmarks.roll(round(film.fps / 2), 0)
        expected = shifted if method == "wrong-pairs" else train.landmarks
        assert torch.equal(published.landmarks, expected)
    assert not any(tmp_path.iterdir()), "none of them trains anything"


def test_what_is_published_clean():
    clean = {name for name in of_scenario(2) if is_published_clean(name)}
    assert clean == {"clean", "reseed", "wrong-pairs"}


@pytest.mark.parametrize("method", ["nonsense", "moved-landmarks"])
def test_a_method_that_cannot_be_published_is_named(film, tmp_path, method):
    with pytest.raises(UserError, match=f"'nonsense'|^{method} is not made here"):
        published_film(method, film, film_protection(method, CONFIG, film, tmp_path))


def test_a_given_poisoner_serves_ours_alone(film, tmp_path, monkeypatch):
    asked = []

    class Trained:
        best = Nothing()

    monkeypatch.setattr(films, "poisoner_for", lambda name, *rest: asked.append(name) or Trained)
    x = film.x(slice(2))
    for method in ("ours", "ours-no-ats", "ours-no-mask"):
        protect = film_protection(method, CONFIG, film, tmp_path, Nothing())
        assert torch.equal(protect(x), x)
    assert asked == ["ours-no-ats", "ours-no-mask"]
    film_protection("ours", CONFIG, film, tmp_path)
    assert asked[-1] == "ours"


# PG by its name


def test_masks_are_of_every_frame(shipped_parser, film):
    masks = masks_of(CONFIG, film)
    assert masks.shape == (len(film), 1, 32, 32)
    assert (masks.isclose(torch.tensor(0.01)) | (masks == 1)).all()


def test_poisoners_by_their_names(shipped_parser, film, tmp_path, monkeypatch):
    seen = {}

    def train_poisoner(config, train, validation, masks, surrogate, folder):
        seen["given"] = (config, len(train), len(validation), masks, surrogate, folder)

    monkeypatch.setattr(films, "train_poisoner", train_poisoner)
    folders = set()
    for method, masked, finished in (
        ("ours", True, False),
        ("ours-no-ats", True, True),
        ("ours-no-mask", False, False),
    ):
        poisoner_for(method, CONFIG, film, tmp_path)
        config, train, validation, masks, surrogate, folder = seen["given"]
        assert (train, validation) == (102, 6) and config.poisoner.masked == masked
        assert (masks is not None) == masked and (surrogate is not None) == finished
        assert folder.parent == tmp_path and folder.name.startswith(f"{method}-")
        folders.add(folder)
    assert len(folders) == 3
    # a finished SM is the forger on clean frames of this seed
    clean, _ = train_forger("clean", CONFIG, film, "UNet256", tmp_path, quiet=True)
    poisoner_for("ours-no-ats", CONFIG, film, tmp_path)
    assert equal(seen["given"][4], clean)


# Rows

KEYS = {"dataset", "size", "method", "reference", "target", "eps", "dsr", "l1", "l2", "lpips"}
KEYS |= {"psnr", "expression_error", "face_found", "seed", "hardware", "command"}


def test_rows_of_an_experiment(shipped_parser, film, tmp_path, monkeypatch):
    points = film.landmarks[0].numpy()

    def find(picture):
        return [(points + 0.5) * 8]

    monkeypatch.setattr(films, "face_finder_or_none", lambda: find)
    rows = experiment(CONFIG, film, "CNet", ["ours", "clean", "reseed"], tmp_path)
    pairs = [(row["method"], row["reference"]) for row in rows]
    assert pairs == [
        ("clean", "x"),
        *[("ours", "M"), ("ours", "x")],
        *[("reseed", "M"), ("reseed", "x")],
    ]
    for row in rows:
        assert row.keys() == KEYS and (row["dataset"], row["size"]) == ("procedural-video", 32)
        assert (row["target"], row["eps"], row["seed"]) == ("CNet", 0.02, 0)
        assert 0 <= row["dsr"] <= 1 and row["l1"] > 0
        assert (row["psnr"] is None) == is_published_clean(row["method"])
        assert row["psnr"] is None or row["psnr"] >= 34
        assert row["face_found"] == 1 and row["expression_error"] >= 0

    # again, from finished trainings, where no face can be looked for
    monkeypatch.setattr(films, "face_finder_or_none", lambda: None)
    monkeypatch.setattr("idf.forger.update_reenactor", None)
    again = experiment(CONFIG, film, "CNet", ["reseed"], tmp_path)
    kept = [row for row in rows if row["method"] != "ours"]
    looked_for = {"expression_error": None, "face_found": None}
    assert again == [row | looked_for for row in kept]


def test_the_shipped_forgers_forge_the_film_and_differ_from_each_other():
    """Preset demo's weights on drawn frames that they never saw: near the truth, no copies."""
    config = load_film_config("demo")
    batch = talking_face(config.person, range(1500, 1516), config.size)
    z = draw_landmarks(batch.landmarks, config.size)
    y = {name: forge_frames(load_film_forger(config, name), z, config) for name in FORGERS}
    for forged in y.values():
        assert metrics.l1(forged, to_model(batch.images)).mean() < 0.08
    for name in ("forger_reseed", "forger_infected"):
        assert metrics.l1(y["forger"], y[name]).mean() > 0.005
