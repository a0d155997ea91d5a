"""What must ship for each data set of scenario 1; more of recipes.ALL may, as it is trained."""

from idf.zoo.grid import EDITORS, GRAY_BOX, POISONERS, poisoner_name
from idf.zoo.load import SURROGATE

NEEDED = {
    # D_A comes with the surrogate
    "procedural": ("judge", *EDITORS, *(poisoner_name(method, 0) for method in POISONERS)),
    "celeba": ("judge", SURROGATE, *GRAY_BOX, poisoner_name("keyless-no-ats", 0)),
}
