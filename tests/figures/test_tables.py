"""Tables of films: means and ranges over seeds, and multiples of the floor, checked by hand."""

from idf.figures import tables
from idf.zoo.grid import NETWORKS

ROW = {
    "dataset": "procedural-video",
    "target": "Res6",
    "eps": 0.02,
    "settings": {},
    "reference": "M",
    "seed": 0,
    "dsr": 0.25,
    "lpips": None,
    "expression_error": None,
    "psnr": None,
}


def row(method, l1, **changes):
    return ROW | {"method": method, "l1": l1} | changes


def test_table_of_methods_by_hand():
    rows = [
        row("clean", 0.05, reference="x"),
        row("clean", 0.07, reference="x", seed=1),
        row("reseed", 0.02),
        row("reseed", 0.04, seed=1),
        row("reseed", 0.05, reference="x"),
        row("ours", 0.03),
        row("ours", 0.08, seed=1),
        row("ours", 0.06, reference="x"),
    ]
    text = tables.table_of_methods(rows, "A film")
    assert text.startswith("**A film, 2 seeds**\n\n| M' trained on | L1 to M |")
    assert "| clean | – | – | – | – | 0.060 (0.050 to 0.070) | – | – |" in text
    ours = "| PG (ours) | 0.055 (0.030 to 0.080) | 1.75 (1.50 to 2.00) | 25% | {} | 0.060 | – | – |"
    assert ours.format("–") in text and "brightened" not in text
    seen = tables.table_of_methods([r | {"lpips": r["l1"] / 2} for r in rows], "A film")
    assert ours.format("0.028 (0.015 to 0.040)") in seen
    assert "**A film, 1 seed**" in tables.table_of_methods(rows[:1], "A film")


def test_other_settings_and_targets_have_floors_of_their_own():
    longer = {"settings": {"forger.iterations": 9000}}
    rows = [
        row("reseed", 0.02, **longer),
        row("ours", 0.03, **longer),
        row("reseed", 0.04),
        row("ours", 0.05),
        row("reseed", 9.0, target="CNet"),
        row("clean", 0.07, target="CNet", reference="x"),
    ]
    lines = tables.by_settings(rows, "procedural-video", "Res6")
    assert lines["settings"].tolist() == ["the preset's", "forger.iterations 9000"]
    assert lines["floor"].tolist() == ["0.0400", "0.0200"]
    assert lines["ours"].tolist() == ["1.25", "1.50"] and set(lines["brightened"]) == {"–"}

    lines = tables.by_target(rows, "procedural-video", 0.02)
    assert lines["target"].tolist() == ["CNet", "Res6"] and lines["seeds"].tolist() == [1, 1]
    assert lines["clean"].tolist() == ["0.0700", "–"] and lines["ours"].tolist() == ["–", "1.25"]
    assert tables.by_target(rows, "procedural-video", 0.05).empty


def test_shown_in_a_notebook():
    rows = [{"eps": 0.02, "ours": "<1>"}, {"eps": 0.0157, "ours": "2"}]
    page = tables.shown(rows, {"ours": "PG", "eps": "eps"}).data
    assert "<th>PG</th>" in page and "&lt;1&gt;" in page and page.index("PG") < page.index("0.0157")
    assert "0.02<" in page and tables.shown([], {"ours": "PG"}).data


def test_the_papers_tables_are_whole():
    first, second = tables.printed(1), tables.printed(2)
    forgers = {(network, setting) for network in NETWORKS for setting in ("SD", "DD")}
    methods = ("ruiz", "ours", "ours-no-ats")
    cells = {(row["target"], row["domains"], row["method"]): row for row in first}
    assert set(cells) == {(*forger, method) for forger in forgers for method in methods}
    assert len(second) == 10 and {row["target"] for row in second} == {"UNet256", *NETWORKS}
    # a sum of each column of the printed tables, added up by hand
    sums = {m: round(sum(r["dsr"] for r in first if r["method"] == m), 2) for m in methods}
    assert sums == {"ruiz": 1.63, "ours": 7.71, "ours-no-ats": 6.31}
    assert round(sum(row["l1"] for row in second), 3) == 0.937
