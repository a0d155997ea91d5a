"""PGs without shipped weights: those that need no training, and a peer that needs minutes."""

from functools import lru_cache

from torch import nn

from idf.config import Config
from idf.data.faces import open_faces
from idf.evaluation import untrained_poisoner
from idf.peers import find_universal
from idf.zoo.grid import EDITORS, poisoner_config
from idf.zoo.load import SURROGATE

MADE = ("untrained-pg", "keyless-untrained", "universal")


@lru_cache(maxsize=len(MADE))
def make(config: Config, method: str) -> nn.Module:
    """What stands in PG's place for one of MADE, frozen; each process makes it once."""
    if method == "universal":
        surrogate = EDITORS[SURROGATE].load(config)
        return find_universal([surrogate], open_faces(config, "surrogate"), config)
    if method == "keyless-untrained":
        config = poisoner_config(config, "keyless", 0)
    return untrained_poisoner(config, open_faces(config, "validation"))
