"""What must ship for each data set of scenario 1; more of recipes.ALL may, as it is trained."""

from idf.zoo.grid import GRAY_BOX, POISONERS, TUNED, poisoner_name
from idf.zoo.load import SURROGATE

EDITORS = ("judge", SURROGATE, *GRAY_BOX)  # D_A comes with the surrogate
NEEDED = {
    "procedural": (*EDITORS, TUNED, *(poisoner_name(method, 0) for method in POISONERS)),
    "celeba": (*EDITORS, poisoner_name("keyless-no-ats", 0)),
}
