"""The table of methods: names, scenarios, looks."""

import subprocess
import sys

import pytest

from idf.config import UserError
from idf.methods import METHODS, method, of_scenario


def test_a_method_is_found_by_its_name():
    assert all(method(name).name == name for name in METHODS)
    with pytest.raises(UserError, match="^Unknown method 'our': use one of ours, ours-no-ats, "):
        method("our")


def test_each_scenario_lists_its_own_methods():
    for number in (1, 2):
        own = {name for name, one in METHODS.items() if number in one.scenarios}
        assert set(of_scenario(number)) == own
    assert list(of_scenario(1))[0] == "ours" and list(of_scenario(2))[-1] == "ours"
    assert set(of_scenario(1)) | set(of_scenario(2)) == set(METHODS)


@pytest.mark.parametrize("number", (1, 2))
def test_no_two_methods_of_a_figure_look_or_read_alike(number):
    own = of_scenario(number).values()
    assert len({one.legend_of(number) for one in own}) == len(own)
    assert len({one.label for one in own}) == len(own)
    assert len({(one.colour, one.marker, one.line) for one in own}) == len(own)


def test_films_say_what_is_ours_in_words_of_their_own():
    assert method("ours").legend_of(1) == "PG, as in the paper"
    assert method("ours").legend_of(2) == "PG (ours)"
    assert method("brightened").legend_of(2) == "brightened"


def test_the_table_needs_no_matplotlib():
    code = "import sys, idf.methods; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
