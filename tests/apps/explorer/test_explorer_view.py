"""What `render` shows of a State of scenario 1, without a browser."""

import numpy as np
import pytest
import torch

from idf import attacks, losses, metrics
from idf.apps.explorer.face import edit_labels, face_of, wanted
from idf.apps.explorer.networks import editor, poisoner
from idf.apps.explorer.publish import SEED
from idf.apps.explorer.state import GALLERY, OFFERED_METHODS, State, domains_of, targets_of
from idf.apps.explorer.view import AMPLIFIED, View, render
from idf.apps.photo import protection
from idf.config import DOMAINS, HAIR, UserError, load_config
from idf.data.drawn.faces import ATTRIBUTES, render_faces
from idf.data.pictures import to_model, to_picture, to_uint8
from idf.methods import of_scenario
from idf.zoo.grid import CODELESS, EDITORS, GRAY_BOX, POISONERS, load_grid_poisoner
from idf.zoo.load import SURROGATE, photo_config


def difference(view, name=f"x′ − x, ×{AMPLIFIED}"):
    return view.pictures[name].astype(int) - 128


def test_a_view_is_what_the_networks_make():
    view, config = render(State(face=2, domain="Blond_Hair")), load_config("demo")
    drawn = render_faces([GALLERY[2]], config.size)
    x = to_model(drawn.images)
    columns = [ATTRIBUTES.index(name) for name in config.domains]
    c = drawn.attributes[:, columns].float()
    # one edit alone, as the page asks: in a batch with others the last bit may differ
    c_trg = losses.target_labels(c, config.domains, HAIR)[1]
    target = EDITORS["editor_Res6_SD_1"].load(config)
    pg = load_grid_poisoner(config, "keyless-no-ats")
    with torch.no_grad():
        delta = pg(x, torch.Generator().manual_seed(0))
        x_infected = to_model(to_uint8(losses.infect(x, delta, 0.05)))
        y, y_infected = target(x, c_trg), target(x_infected, c_trg)

    expected = {
        "clean x": x,
        "infected x′": x_infected,
        "forged from x: y": y,
        "forged from x′: y′": y_infected,
        "y′ − y": y_infected - y,
        "what the forger got": x_infected,
    }
    for name, image in expected.items():
        assert np.array_equal(view.pictures[name], to_picture(image[0])), name
    assert np.array_equal(view.pictures["texture of y′ (LBP)"][..., 0], metrics.lbp(y_infected[0]))
    assert view.numbers["L2 of y′"] == pytest.approx(metrics.l2(y, y_infected).item(), abs=1e-6)
    assert view.numbers["L1 of y′"] == pytest.approx(metrics.l1(y, y_infected).item(), abs=1e-6)
    assert view.numbers["PSNR of x′"] == pytest.approx(metrics.psnr(x, x_infected).item(), abs=1e-4)


def test_a_view_depends_on_its_state_alone():
    states = [
        State(),
        State(eps=0.1),
        State(method="random-noise"),
        State(transformation="blur", strength=1.0),
        State(face=3),
    ]
    first = [render(state) for state in states]
    again = [render(state) for state in reversed(states)][::-1]
    for one, other in zip(first, again, strict=True):
        assert one.numbers == other.numbers and one.sentences == other.sentences
        for name, pixels in one.pictures.items():
            assert np.array_equal(pixels, other.pictures[name])
            assert pixels.dtype == np.uint8 and pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("method", OFFERED_METHODS)
def test_eps_bounds_the_change_and_nought_changes_nothing(method):
    view = render(State(method=method, eps=0.0))
    assert np.array_equal(view.pictures["clean x"], view.pictures["infected x′"])
    assert not difference(view).any() and not difference(view, "y′ − y").any()
    assert view.numbers["L2 of y′"] == 0 and "stands" in view.sentences[0]
    for eps in (0.02, 0.1):
        view = render(State(method=method, eps=eps))
        change = view.pictures["infected x′"].astype(int) - view.pictures["clean x"]
        assert 0 < np.abs(change).max() <= round(127.5 * eps)
        # grey is 127.5, which falls to either side
        assert np.abs(difference(view) - (change * AMPLIFIED).clip(-128, 127)).max() <= 1


def test_methods_and_targets_are_those_of_the_tables():
    assert set(OFFERED_METHODS) <= set(of_scenario(1)) and set(POISONERS) <= set(OFFERED_METHODS)
    assert {SURROGATE, *GRAY_BOX} <= set(targets_of("procedural")) <= set(EDITORS)
    for target in targets_of("procedural"):
        for domain in domains_of("procedural", target):
            assert isinstance(render(State(target=target, domain=domain)), View)


@pytest.mark.parametrize("dataset", ["procedural", "celeba"])
def test_only_editors_that_ship_are_offered(other_domains, dataset):
    offered = targets_of(dataset)
    assert {SURROGATE, *GRAY_BOX} <= set(offered)
    assert (other_domains in offered) == (dataset == "procedural")
    assert offered[GRAY_BOX[0]] == "Res6, seed 1"
    assert domains_of(dataset, other_domains) == DOMAINS[dataset]["DD"]


def moved(**choice):
    """How far the forgeries of the gallery's faces are moved: L2 of each."""
    views = [render(State(face=face, **choice)) for face in range(len(GALLERY))]
    return np.array([view.numbers["L2 of y′"] for view in views])


def broken(**choice):
    """The share of the gallery's faces whose forgery is broken."""
    return np.mean(moved(**choice) > metrics.DSR_THRESHOLD)


@pytest.mark.parametrize("target", GRAY_BOX)
def test_the_keyless_pg_moves_forgers_it_never_met_until_a_jpeg_comes_between(target):
    by_colour_noise = moved(target=target, method="random-colour").mean()
    assert moved(target=target).mean() > 2 * by_colour_noise
    assert broken(target=target, transformation="jpeg", strength=75) == 0
    assert broken(target=GRAY_BOX[0]) == 1


def test_a_forger_that_hides_no_code_is_not_moved():
    assert broken(target=CODELESS) == 0 and moved(target=CODELESS).mean() < moved().mean() / 3


def test_a_pattern_of_another_period_moves_no_forger():
    assert moved(method="tiles").min() > 0.02
    assert moved(method="tiles-wrong-period").max() < 0.01


def test_an_attack_on_the_surrogate_moves_it_and_no_forger_of_another_seed():
    assert broken(method="ruiz", target=SURROGATE) == 1 and broken(method="ruiz") == 0


def test_the_papers_pg_moves_the_surrogate_more_than_a_forger():
    assert moved(method="ours", target=SURROGATE).mean() > 2 * moved(method="ours").mean()


def test_pg_with_queries_moves_the_forger_that_it_asked():
    assert moved(method="ours-queries").mean() > 2 * moved(method="ours").mean()


def test_the_attack_is_pgd_on_the_surrogate_at_one_domain(other_domains):
    state = State(method="ruiz", target=SURROGATE, domain="Smiling")
    x_infected = attacks.pgd(
        editor("procedural", SURROGATE),
        face_of(State()).x,
        edit_labels(state, SURROGATE)[4:5],
        0.05,
        generator=torch.Generator().manual_seed(SEED),
    )
    assert np.array_equal(render(state).pictures["infected x′"], to_picture(x_infected[0]))
    other = State(method="ruiz", target=other_domains, domain="Bangs")
    assert "aims at black hair" in " ".join(render(other).sentences)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            dict(target="Res9"),
            "Unknown target 'Res9': use one of editor_Res6_SD_1, editor_Res6_SD_2",
        ),
        (dict(method="x"), "Unknown method"),
        (dict(transformation="unrounded"), "Unknown transformation"),
        (dict(domain="Bangs"), "does not edit 'Bangs'"),
        (dict(eps=0.2), "eps=0.2 is outside"),
        (dict(eps=-0.01), "outside"),
        (dict(eps=float("nan")), "outside"),
        (dict(face=8), "There is no face 8"),
        (dict(strength=3), "strength=3 is not offered"),
    ],
)
def test_states_out_of_reach_are_refused(change, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        render(State(**change))
    assert "\n" not in str(error.value)


def test_a_photo_has_the_forgers_that_ship_for_photos(other_domains):
    render(State(target=other_domains, domain="Bangs"))
    with pytest.raises(UserError, match=f"Unknown target '{other_domains}'"):
        render(State(photo=b"\0" * 12288, target=other_domains, domain="Bangs"))


def test_hair_colours_are_put_on_and_anything_else_is_turned_round(other_domains):
    shows = face_of(State()).shows
    assert set(shows) == set(DOMAINS["procedural"]["SD"] + DOMAINS["procedural"]["DD"])
    assert shows["Black_Hair"] and shows["No_Beard"] and not shows["Smiling"]
    assert wanted(State(domain="Black_Hair")) and wanted(State(domain="Smiling"))
    assert not wanted(State(domain="No_Beard", target=other_domains))
    assert "black hair on, as it is already" in render(State(domain="Black_Hair")).sentences[1]
    assert "no beard off: " in render(State(domain="No_Beard", target=other_domains)).sentences[1]


def test_a_photo_is_infected_by_the_pg_of_idf_protect():
    """With CelebA's weights; the keys of the page are those of seed 0."""
    photo = render(State()).pictures["clean x"].transpose(2, 0, 1).tobytes()
    state = State(photo=photo, eps=0.03)
    assert state.method == protection.METHOD
    x = face_of(state).x
    with torch.no_grad():
        pg = load_grid_poisoner(photo_config(), protection.METHOD)
        delta = pg(x, torch.Generator().manual_seed(0))
    protected = losses.infect(x, delta, 0.03)
    assert np.array_equal(render(state).pictures["infected x′"], to_picture(protected[0]))


def test_a_random_pg_adds_the_same_to_a_face_each_time():
    remembering, x = poisoner("procedural", "keyless-no-ats"), face_of(State(face=1)).x
    assert torch.equal(remembering.compute(x), remembering.compute(x))
    assert torch.equal(remembering(x, torch.Generator().manual_seed(5)), remembering.compute(x))


def test_a_moved_eps_does_not_run_pg_again():
    remembering = poisoner("procedural", State().method)
    render(State(eps=0.01))
    before = remembering.perturbation.cache_info().misses
    for eps in (0.02, 0.03, 0.04):
        render(State(eps=eps))
    assert remembering.perturbation.cache_info().misses == before
