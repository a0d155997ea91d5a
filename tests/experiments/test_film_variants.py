"""PG trained with M' that restarts, or later than M'."""

import json

import film_variants
import pytest
import torch
from film_variants import main, restart, train_poisoner
from torch import nn

from idf import reenactment
from idf.config import RESULTS, UserError, load_film_config
from idf.data.film import open_film
from idf.forger import make_discriminator, make_reenactor
from idf.reenactment import make_poison_training

CONFIG = load_film_config("smoke")


@pytest.fixture(scope="module")
def parts():
    film = open_film(CONFIG)
    train = film.part("train")
    masks = torch.rand(len(train), 1, train.size, train.size)
    return train, film.part("validation"), masks


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def assert_equal(run, other):
    for name, network in run.networks().items():
        assert torch.equal(weights(network), weights(other.networks()[name])), name
    assert torch.equal(weights(run.best), weights(other.best))


def test_without_a_change_it_is_the_training_of_the_paper(parts):
    ours = reenactment.train_poisoner(CONFIG, *parts, quiet=True)
    assert_equal(train_poisoner(CONFIG, *parts, quiet=True), ours)


@pytest.mark.parametrize("variant", [{"restart_every": 3}, {"delay": 2}])
def test_a_broken_training_ends_as_an_unbroken_one(parts, tmp_path, variant):
    options = {**variant, "quiet": True}
    whole = train_poisoner(CONFIG, *parts, **options)
    train_poisoner(CONFIG, *parts, **options, folder=tmp_path, until=4)
    assert_equal(train_poisoner(CONFIG, *parts, **options, folder=tmp_path), whole)
    plain = train_poisoner(CONFIG, *parts, quiet=True)
    assert not torch.equal(weights(plain.infected), weights(whole.infected))
    with pytest.raises(UserError, match="holds a training with"):
        train_poisoner(CONFIG, *parts, folder=tmp_path, quiet=True)


def test_before_its_delay_pg_stays(parts):
    run = train_poisoner(CONFIG, *parts, delay=4, until=4, quiet=True)
    fresh = make_poison_training(CONFIG)
    for name in ("poisoner", "d_b"):
        assert torch.equal(weights(run.networks()[name]), weights(fresh.networks()[name])), name
    assert not torch.equal(weights(run.infected), weights(fresh.infected))
    assert not torch.equal(weights(run.surrogate), weights(fresh.surrogate))


def test_a_restart_gives_fresh_networks_and_moments(parts):
    run = train_poisoner(CONFIG, *parts, until=3, quiet=True)
    poisoner = weights(run.poisoner)
    restart(run)
    torch.manual_seed(CONFIG.seed * 7919 + 3)
    assert torch.equal(weights(run.infected), weights(make_reenactor(CONFIG)))
    assert torch.equal(weights(run.d_infected), weights(make_discriminator(CONFIG)))
    assert not run.optimizers[run.infected].state and not run.optimizers[run.d_infected].state
    assert torch.equal(weights(run.poisoner), poisoner) and run.optimizers[run.poisoner].state


def test_rows_have_the_shape_of_those_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(film_variants, "masks_of", lambda config, frames: None)
    out = tmp_path / "rows.json"
    for variant in ({"restart_every": 3}, {"delay": 2}):
        main(**variant, preset="smoke", work=str(tmp_path / "work"), out=out)
    rows = json.loads(out.read_text())
    stored = json.loads((RESULTS / "reenactment_experiments.json").read_text())
    assert {tuple(row) for row in rows} == {tuple(row) for row in stored}
    of_pg = [row for row in rows if (row["method"], row["reference"]) == ("ours", "M")]
    assert [row["settings"] for row in of_pg] == [{"restart_every": 3}, {"delay": 2}]
    assert of_pg[0]["l1"] != of_pg[1]["l1"], "each variant's forger is its own"
    assert [row["method"] for row in rows[:7:2]] == ["clean", "reseed", "brightened", "ours"]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="say --restart-every NUMBER or --delay NUMBER"):
        main(preset="smoke")
    with pytest.raises(UserError, match="--delay 6 leaves PG no iteration: use at most 5"):
        main(preset="smoke", delay=6)
