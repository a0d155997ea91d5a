"""What the speed is measured against computes the same; no test here measures time."""

import copy
import json

import pytest
import torch
from standin import write_stand_in
from torch.testing import assert_close

from benchmarks import speed
from idf.config import RESULTS, load_config
from idf.data.faces import open_faces
from idf.editing import make_training, poisoner_loss

ROW = {"what", "ratio", "ours_s", "reference_s", "hardware", "command"}


def setting(dtype):
    training = make_training(load_config("smoke", **{"poisoner.batch": 4}))
    for network in training.networks().values():
        network.to(dtype)
    x, c = open_faces(training.config, "surrogate").batch(0, 4, 0)
    d_a = shaken(training.d_a)
    return training, x.to(dtype), c, d_a


def shaken(network):
    """A copy with other weights, as if from the last iteration."""
    generator = torch.Generator().manual_seed(0)
    network = copy.deepcopy(network).requires_grad_(False)
    for p in network.parameters():
        p += 0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return network


def gradients(training, loss):
    training.poisoner.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in training.poisoner.named_parameters()}


@pytest.mark.parametrize(
    "dtype, tolerance",
    [(torch.float32, dict(rtol=1e-3, atol=2e-6)), (torch.float64, dict(rtol=1e-8, atol=1e-11))],
)
@pytest.mark.parametrize("edited", [True, False], ids=["n_critic hit", "n_critic not hit"])
def test_the_straightforward_loss_has_equal_gradients(dtype, tolerance, edited):
    training, x, c, d_a = setting(dtype)
    before = (
        shaken(training.surrogate)
        if edited
        else copy.deepcopy(training.surrogate).requires_grad_(False)
    )
    slow = speed.straightforward_poisoner_loss(training, x, c, (before, d_a))
    fast, _ = poisoner_loss(training, x, c, (before if edited else training.surrogate, d_a))
    assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    expected = gradients(training, slow)
    assert sum(value.abs().sum() for value in expected.values()) > 1e-3
    assert_close(gradients(training, fast), expected, **tolerance)


def test_the_straightforward_iteration_updates_all_four_networks():
    training = make_training(load_config("smoke", n_critic=1, **{"poisoner.batch": 4}))
    before = {name: copy.deepcopy(network) for name, network in training.networks().items()}
    speed.straightforward_iteration(training, open_faces(training.config, "surrogate"))
    for name, network in training.networks().items():
        assert any(
            not torch.equal(a, b)
            for a, b in zip(network.parameters(), before[name].parameters(), strict=True)
        ), name


def test_compare_takes_medians_of_seconds_per_unit(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])

    def work(durations, units):
        left = iter(durations)

        def run():
            clock[0] += next(left)
            return units

        return run

    # the first is the warm-up; then per unit 1, 2, 4 against 6, 8, 40
    row = speed.compare("what", work([99, 2, 4, 8], 2), work([99, 6, 8, 40], 1), rounds=3)
    assert set(row) == ROW
    assert (row["ours_s"], row["reference_s"], row["ratio"]) == (
        2,
        8,
        6,
    )  # the ratios are 6, 4 and 10


def test_the_loaders_jpegs_have_celebas_size(tmp_path):
    files = speed.write_jpegs(tmp_path)
    assert len(files) == 400 and {speed.Image.open(file).size for file in files[:20]} == {
        (178, 218)
    }


def test_the_loader_finds_pictures_of_every_kind(tmp_path):
    folder = write_stand_in(tmp_path / "celeba", count=24)
    for file in (folder / "img_align_celeba").iterdir():
        speed.Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    row = speed.loader(str(folder), rounds=1)
    assert row["what"] == "loader" and row["ours_s"] > 0 and row["reference_s"] > 0


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Results go elsewhere, and nothing is measured."""
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    for name in ("alternating_step", "protect", "loader", "second_order_memory"):
        monkeypatch.setattr(speed, name, lambda *_, name=name: {"what": name})
    return tmp_path


def test_rows_are_written(monkeypatch, quick):
    monkeypatch.setattr("sys.argv", ["speed.py", "--rounds", "2"])
    speed.main()
    rows = json.loads((quick / "speed.json").read_text())
    assert [row["what"] for row in rows] == ["alternating_step", "protect", "loader"]
    assert len(json.loads((quick / "memory.json").read_text())) == 2
    assert speed.origin()["command"] == "python benchmarks/speed.py --rounds 2"


def test_no_rounds_at_all(monkeypatch, quick, capsys):
    monkeypatch.setattr("sys.argv", ["speed.py", "--rounds", "0"])
    with pytest.raises(SystemExit):
        speed.main()
    assert "--rounds 0 must be at least 1" in capsys.readouterr().err


@pytest.mark.skipif(
    not (RESULTS / "speed.json").is_file(), reason="`make bench` has not been run yet"
)
def test_the_measured_speed_keeps_its_promise():
    rows = {row["what"]: row for row in json.loads((RESULTS / "speed.json").read_text())}
    assert all(set(row) == ROW for row in rows.values())
    assert rows["alternating-step"]["ratio"] >= 3
    assert rows["protect"]["ratio"] >= 80
    assert rows["loader"]["ratio"] >= 10


def test_what_autograd_keeps_is_counted_once():
    x = torch.ones(2**18, requires_grad=True)  # 1 MiB
    assert speed.kept_by_autograd(lambda: x * x) == 1
    assert speed.kept_by_autograd(lambda: (x * 2).sin().sum()) == pytest.approx(1, abs=0.01)
    assert speed.kept_by_autograd(lambda: x.sin().cos()) == 2


def test_the_step_through_tm_keeps_at_most_three_times_as_much():
    row = speed.second_order_memory("UNet256")
    assert 1 < row["ratio"] <= 3 and row["ours_mib"] > row["reference_mib"] > 10
