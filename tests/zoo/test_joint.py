"""The joint defence: what is published, stage by stage; its frames as faces; forgers and figure."""

import numpy as np
import pytest
import torch

from idf import metrics
from idf.config import UserError, load_config, load_film_config
from idf.data.film import open_film
from idf.zoo import joint as joints
from idf.zoo.joint import (
    CASES,
    FILM,
    POISONS,
    Joint,
    Publication,
    facts_of,
    film_poisoner,
    frames_as_faces,
    labels_of_person,
    made_of,
    publications,
    published,
    strength,
)
from idf.zoo.joint_forgeries import EDITED_BY, Job, forger_of, jobs_of, key_of

KEYLESS = "keyless-no-ats"


class Pattern(torch.nn.Module):
    """A PG whose delta is the same +-1 in every frame; `random`: another in each."""

    def __init__(self, seed, random=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(float(seed)))
        self.pattern = signs((1, 3, 32, 32), torch.Generator().manual_seed(seed))
        self.random = random

    def forward(self, x, generator=None):
        return signs(x.shape, generator) if self.random else self.pattern.expand_as(x)


def signs(shape, generator):
    return torch.rand(shape, generator=generator).sub(0.5).sign()


@pytest.fixture(scope="module")
def joint():
    config, film_config = load_config("smoke"), load_film_config("smoke")
    poisoners = {"ours": Pattern(1), KEYLESS: Pattern(2, random=True), FILM: Pattern(3)}
    return Joint(config, film_config, open_film(film_config), poisoners)


def of(joint, case, poison="ours"):
    poison = poison if CASES[case].needs_poison else ""
    return published(joint, Publication(case, poison))


# What is published


def test_each_case_is_published_once_or_with_each_poison():
    films = publications()
    assert len(films) == len(set(films)) == 3 + 4 * len(POISONS)
    assert {film.case for film in films} == set(CASES)
    assert all(bool(film.poison) == CASES[film.case].needs_poison for film in films)
    assert len(publications(["ours"])) == len(CASES)


@pytest.mark.parametrize("poison", POISONS)
def test_the_second_poison_lies_upon_the_first(joint, poison):
    first, both = of(joint, "both", poison)
    (alone,) = of(joint, "scenario-1", poison)
    assert np.array_equal(first.images, alone.images), "the same keys, the same frames"
    for before, after, eps in ((joint.film, first, 0.05), (first, both, 0.02)):
        change = (after.x() - before.x()).abs()
        assert eps - 2 / 255 < change.max() <= eps + 1 / 255 + 1e-6

    facts = facts_of(joint, Publication("both", poison), [first, both])
    alone_facts = facts_of(joint, Publication("scenario-1", poison), [alone])
    assert facts["psnr"] < facts["psnr_first"] == alone_facts["psnr"]
    assert alone_facts["psnr_first"] is None and alone_facts["film_eps"] is None


def test_the_order_may_be_exchanged(joint):
    first, exchanged = of(joint, "exchanged")
    assert np.array_equal(first.images, of(joint, "scenario-2")[0].images)
    both = of(joint, "both")[-1]
    psnr = [metrics.psnr(joint.film.x(), film.x()).mean() for film in (both, exchanged)]
    assert psnr[0] == pytest.approx(psnr[1].item(), abs=0.1)


@pytest.mark.parametrize("poison", POISONS)
def test_noise_is_as_strong_as_both_poisons(joint, poison):
    noise, both = of(joint, "random-noise", poison)[-1], of(joint, "both", poison)[-1]
    psnr = [metrics.psnr(joint.film.x(), film.x()).mean().item() for film in (noise, both)]
    assert psnr[0] == pytest.approx(psnr[1], abs=0.2)
    facts = facts_of(joint, Publication("random-noise", poison), [noise])
    change = (noise.x() - joint.film.x()).abs().max()
    assert facts["control"] and 0.05 < facts["eps"] and change <= facts["eps"] + 1 / 255


def test_a_clean_film_stays_as_it_is(joint):
    (clean,) = of(joint, "clean")
    assert clean is joint.film and facts_of(joint, Publication("clean"), [clean])["psnr"] is None


def test_the_digest_knows_what_a_film_rests_on(joint):
    digests = {film: made_of(joint, film) for film in publications()}
    assert digests[Publication("clean")] == digests[Publication("reseed")] == "clean"
    assert len(set(digests.values())) == len(digests) - 1
    louder = Joint(joint.config.changed(eps=0.06), joint.film_config, joint.film, joint.poisoners)
    other = joint.poisoners | {FILM: Pattern(4)}
    changed = Joint(joint.config, joint.film_config, joint.film, other)
    for film, digest in digests.items():
        needs_film_poison = film.case not in ("clean", "reseed", "scenario-1")
        assert (made_of(louder, film) != digest) == bool(film.poison)
        assert (made_of(changed, film) != digest) == needs_film_poison
    assert strength(louder, Publication("scenario-1", "ours"), "editing") == 0.06


def test_the_pg_of_the_film_is_trained_where_none_fits(joint, shipped_parser, tmp_path):
    own = film_poisoner(joint.film_config, joint.film, tmp_path, shipped=True)
    again = film_poisoner(joint.film_config.changed(seed=5), joint.film, tmp_path, shipped=True)
    pairs = zip(own.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs), "of the forger it knows no seed"


def test_beside_networks_of_ones_own_the_shipped_pg_is_not_read(
    joint, shipped_parser, tmp_path, monkeypatch
):
    monkeypatch.setattr("idf.zoo.film_recipes.load", lambda *_: pytest.fail("the shipped PG"))
    assert film_poisoner(joint.film_config, joint.film, tmp_path, shipped=False)


# Frames as faces


def test_frames_are_taken_evenly_from_the_test_part(joint):
    domains = ("Brown_Hair", "Smiling")
    faces = frames_as_faces(joint.film, domains, 3, torch.tensor([1.0, 0.0]))
    assert faces.names == ["frame 108", "frame 114", "frame 119"]
    assert faces.labels.tolist() == [[1.0, 0.0]] * 3 and faces.domains == domains
    assert len(frames_as_faces(joint.film, domains, 500, torch.zeros(2))) == 12


def test_a_drawn_persons_attributes_are_known_and_a_filmed_ones_are_judged(joint, monkeypatch):
    domains = ("Brown_Hair", "Eyeglasses", "Smiling")
    assert labels_of_person(joint, domains).tolist() == [1, 0, 0]
    filmed = joint.film_config.model_copy(update={"video": "film.mp4"})
    other = Joint(joint.config, filmed, joint.film, joint.poisoners)

    def judge_for(config, names):
        return lambda x: torch.tensor([1.0, -1.0, 1.0]).expand(len(x), -1)

    monkeypatch.setattr(joints, "judge_for", judge_for)
    assert labels_of_person(other, domains).tolist() == [1, 0, 1]


# Jobs


def test_jobs_are_told_apart_and_editing_comes_first(joint):
    jobs = jobs_of((0, 1))
    keys = [key for job in jobs for key in job.keys(joint)]
    assert len(keys) == len(set(keys)) == 9 * len(EDITED_BY) + 2 * (2 * 11 - 1)
    editing = [bool(job.editor) for job in jobs]
    assert editing == sorted(editing, reverse=True)
    seeds = [job.seed for job in jobs if not job.editor]
    assert seeds == sorted(seeds)


def test_a_row_has_its_jobs_key(joint):
    row = {"dataset": "procedural-video", "size": 32, "poison": "ours", "method": "both", "seed": 0}
    editor = {"target": "Res6", "domains": "SD", "target_seed": 2}
    edited = row | editor | {"manipulation": "editing", "reference": "y"}
    job = Job(Publication("both", "ours"), "editor_Res6_SD_2")
    assert job.keys(joint) == [key_of(edited)]
    trained = row | {"manipulation": "reenactment", "target": "UNet256", "reference": "x"}
    assert Job(Publication("both", "ours")).keys(joint)[1] == key_of(trained)


def test_forgers_of_other_films_have_other_folders(joint, tmp_path):
    films = [film for film in publications(["ours"]) if film.case != "exchanged"]
    for film in films:
        forger_of(joint, Job(film), published(joint, film)[-1], tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == len(films) and names[:2] == [
        "UNet256-clean-0",
        "UNet256-joint-both-1000-" + made_of(joint, Publication("both", "ours")),
    ]


def test_scenario_1s_pg_must_ship_for_these_settings(joint, no_weights, tmp_path):
    with pytest.raises(UserError, match="No weights at .*poisoner_ours_0"):
        joints.open_joint(joint.config, joint.film_config, joint.film, ["ours"], tmp_path)
