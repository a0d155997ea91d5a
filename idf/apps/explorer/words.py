"""What the page says: the sentences under a verdict, and states in words."""

from idf.apps.explorer.face import face_of, wanted
from idf.apps.explorer.publish import attacked
from idf.apps.explorer.state import State, targets_of
from idf.data.transforms import KINDS
from idf.methods import METHODS
from idf.metrics import DSR_THRESHOLD


def in_words(domain: str) -> str:
    """Black_Hair -> black hair."""
    return domain.replace("_", " ").lower()


def what_it_shows(state: State) -> str:
    """The attributes of the face."""
    shows = face_of(state).shows
    held = [in_words(name) for name, value in shows.items() if value]
    return ", ".join(held) or "none of the attributes"


def sentences(state: State, numbers: dict[str, float]) -> tuple[str, ...]:
    """The verdict first, then what the judge sees, then what else there is to know."""
    said = [verdict_in_words(numbers["L2 of y′"]), edit_in_words(state, numbers)]
    if not numbers["edited"]:
        said.append("The clean forgery misses the edit already, so a broken y′ says little.")
    if state.method == "ruiz":
        said.append(f"The attack aims at {in_words(attacked(state))} on the surrogate.")
    if state.photo:
        said.append(f"It has no labels; the judge sees {what_it_shows(state)}.")
    else:
        said.append(f"It is drawn, so its labels are exact: {what_it_shows(state)}.")
    return tuple(said)


def verdict_in_words(l2: float) -> str:
    """Whether the forgery is broken by the DSR."""
    broken = l2 > DSR_THRESHOLD
    side = "above" if broken else "not above"
    fate = "is broken" if broken else "stands"
    return (
        f"L2 of y′ is {l2:.3f}, {side} the line of "
        f"{DSR_THRESHOLD:g}: by the DSR the forgery {fate}."
    )


def edit_in_words(state: State, numbers: dict[str, float]) -> str:
    """What was asked for, and in which of the forgeries the judge sees it."""
    turned = "on" if wanted(state) else "off"
    if face_of(state).shows[state.domain] == wanted(state):
        turned += ", as it is already"
    saw = {True: "sees that", False: "does not see that"}
    return (
        f"The edit turns {in_words(state.domain)} {turned}: in y the judge "
        f"{saw[numbers['edited']]}, in y′ it {saw[numbers['edited, infected']]}."
    )


def film_sentences(numbers: dict[str, float]) -> tuple[str, ...]:
    """How far M' is from M, and how much of that is chance."""
    if "L1 to M of M′" not in numbers:
        return ("The forgers of this film do not ship with these weights: see notebook 07.",)
    floor, moved = numbers["L1 to M of M2"], numbers["L1 to M of M′"]
    side = "above" if moved > DSR_THRESHOLD else "not above"
    return (
        f"M′, trained on the published film, differs from M by L1 {moved:.3f}: {side} the line of "
        f"{DSR_THRESHOLD:g}.",
        f"M2, trained on the clean film from another seed, differs from M by {floor:.3f}: this "
        f"much is chance, and M′ has {moved / max(floor, 1e-9):.2f} times as much.",
    )


def state_in_words(state: State | int) -> str:
    """A State, or the number of a test frame, for those who hear the pictures."""
    if isinstance(state, int):
        return f"test frame {state}"
    face = "your photo" if state.photo else f"face {state.face + 1}"
    forger = targets_of(state.dataset)[state.target]
    said = (
        f"{face}, {in_words(state.domain)} by {forger}, {METHODS[state.method].legend}, "
        f"eps {state.eps:.3f}"
    )
    if state.transformation == "none":
        return said
    way = KINDS[state.transformation]
    return f"{said}, {way.label}, {way.in_words(state.strength)}"
