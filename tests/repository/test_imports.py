"""Imports point one way: apps, commands -> zoo, figures -> the paper -> data -> config."""

import subprocess
import sys
from pathlib import Path

from idf.config import ROOT


def test_arrows_point_one_way():
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(lint), "--no-cache"], cwd=ROOT, text=True, capture_output=True, timeout=300
    )
    assert result.returncode == 0, result.stdout


def test_blame_looks_through_the_formatting():
    lines = (ROOT / ".git-blame-ignore-revs").read_text().splitlines()
    commits = [line for line in lines if not line.startswith("#")]
    assert commits and all(len(commit) == 40 and int(commit, 16) for commit in commits)
