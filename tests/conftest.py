"""Every test works at preset `smoke` on the CPU, with a cache folder of its own."""

import os
import tempfile

CACHE = tempfile.TemporaryDirectory(prefix="idf-tests-")
os.environ["IDF_PRESET"] = "smoke"
os.environ["IDF_CACHE"] = CACHE.name
# the same numbers everywhere: no GPU, neither NVIDIA's nor Apple's
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}


def pytest_collectstart(collector):
    # nbval compares stderr too, where libraries warn differently from one machine to the next.
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
