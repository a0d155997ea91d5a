"""The programs in experiments/ are no package: tests import them as their folder's own."""

import sys

from idf.config import ROOT

sys.path.append(str(ROOT / "experiments"))
