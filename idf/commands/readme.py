"""Where the tables of README.md stand: between two marks each."""

from pathlib import Path

from idf.config import UserError
from idf.data.files import write_atomically


def write_table(readme: Path, lines: str, marks: tuple[str, str]) -> None:
    """Replace what stands between the two marks. Raises UserError where they are missing."""
    before, _, rest = readme.read_text().partition(marks[0])
    _, second, after = rest.partition(marks[1])
    if not second:
        raise UserError(
            f"{readme} lacks the lines {marks[0]} and {marks[1]}: put them back where the table "
            "should stand."
        )
    text = f"{before}{marks[0]}\n{lines}\n{marks[1]}{after}"
    write_atomically(readme, lambda temporary: temporary.write_text(text))
