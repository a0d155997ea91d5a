"""What must ship for each data set of scenario 1; more of recipes.ALL may, as it is trained."""

from idf.zoo.grid import GRAY_BOX, POISONERS, poisoner_name
from idf.zoo.load import SURROGATE

FIRST_POISONERS = tuple(poisoner_name(method, 0) for method in POISONERS)
NEEDED = ("judge", SURROGATE, *GRAY_BOX, *FIRST_POISONERS)  # D_A comes with the surrogate
