"""Tables in README.md: put between their marks, and nothing else is touched."""

import pytest

from idf.commands.readme import write_table
from idf.config import UserError

MARKS = ("<!-- begin -->", "<!-- end -->")


def test_write_table_touches_nothing_else(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n")
    write_table(file, "| new |\n|---|", MARKS)
    assert file.read_text() == f"above\n{MARKS[0]}\n| new |\n|---|\n{MARKS[1]}\nbelow\n"


@pytest.mark.parametrize("content", ["nothing", MARKS[0], MARKS[1] + MARKS[0]])
def test_a_readme_without_the_marks_is_refused(tmp_path, content):
    file = tmp_path / "README.md"
    file.write_text(content)
    with pytest.raises(UserError, match="lacks the lines"):
        write_table(file, "| new |", MARKS)
    assert file.read_text() == content
