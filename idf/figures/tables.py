"""Rows as tables: Markdown for README.md, HTML for a notebook, and summaries of scenario 2's rows.

One of these is a forger against M or against the truth x (idf/zoo/films.py, `experiment`). They are
summed up by their mean and range over the seeds, beside the floor.
"""

import re
from typing import get_args

import pandas as pd
from IPython.display import HTML

from idf.config import RESULTS, ForgerSettings
from idf.data.files import read_json_rows
from idf.methods import of_scenario

NETWORKS = get_args(ForgerSettings.model_fields["network"].annotation)  # in the order of tables


def printed(table: int) -> list[dict]:
    """The rows of the paper's Table 1 (dsr, l2) or 2 (dsr, l1, l2), as the paper prints them."""
    return [row for row in read_json_rows(RESULTS / "paper.json") if row["table"] == table]


def markdown(table: pd.DataFrame) -> str:
    """A table of texts. Cells are not padded, so that a change of one line leaves the others."""
    text = table.to_markdown(index=False, tablefmt="github", disable_numparse=True)
    return re.sub(r" {2,}\|", " |", re.sub(r"-{3,}", "---", text))


def shown(rows: list[dict] | pd.DataFrame, columns: dict[str, str] | None = None) -> HTML:
    """Rows for a notebook: all columns, or those of {column: heading}."""
    table = pd.DataFrame(rows)
    if columns:
        table = table.reindex(columns=list(columns)).rename(columns=columns)
    return HTML(table.to_html(index=False, border=0, float_format="{:g}".format))


def table_of_methods(rows: list[dict], title: str) -> str:
    """Markdown: a line a method, of the rows of one film, target network and settings."""
    table = with_times(rows)
    lines = []
    for name, method in of_scenario(2).items():
        to_m, to_x = select(table, name, "M"), select(table, name, "x")
        if len(to_x):
            line = {
                "M' trained on": method.legend_of(2),
                "L1 to M": spread(to_m.l1),
                "times the floor": spread(to_m.times, 2),
                "DSR": spread(100 * to_m.dsr, 0, "%"),
                "LPIPS to M": spread(to_m.lpips),
                "L1 to x": spread(to_x.l1),
                "expression error": spread(to_x.expression_error),
                "PSNR of x'": spread(to_x.psnr, 1, " dB"),
            }
            lines.append(line)
    seeds = table.seed.nunique()
    count = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return f"**{title}, {count}**\n\n{markdown(pd.DataFrame(lines))}"


def table_of_networks(rows: list[dict], title: str) -> str:
    """Markdown: a line a target network, of the rows of one film and settings."""
    lines = []
    for own in sorted(groups(rows, "target"), key=_network):
        table, summary = with_times(own), summary_of(own)
        dsr = [select(table, name, "M").dsr for name in ("reseed", "ours")]
        errors = [select(table, name, "x").expression_error for name in ("clean", "reseed", "ours")]
        line = {
            "forger": own[0]["target"],
            "seeds": str(summary["seeds"]),
            "M, L1 to x": summary["clean"],
            "floor": summary["floor"],
            "random noise": summary["random-noise"],
            "brightened": summary["brightened"],
            "PG (ours)": summary["ours"],
            "without alternation": summary["ours-no-ats"],
            "DSR of M2, M'": ", ".join(spread(100 * values, 0, "%") for values in dsr),
            "expression error of M, M2, M'": ", ".join(spread(values) for values in errors),
        }
        lines.append(line)
    return f"**{title}**\n\n{markdown(pd.DataFrame(lines))}"


def by_settings(rows: list[dict], dataset: str, target: str) -> pd.DataFrame:
    """A line for each eps and change of settings of a target network: summary_of its rows."""
    own = [row for row in rows if (row["dataset"], row["target"]) == (dataset, target)]
    own.sort(key=lambda row: (row["settings"] != {}, row["eps"]))
    summaries = []
    for group in groups(own, "eps", "settings"):
        changes = [f"{name} {value}" for name, value in group[0]["settings"].items()]
        settings = ", ".join(changes) or "the preset's"
        summaries.append({"eps": group[0]["eps"], "settings": settings, **summary_of(group)})
    return pd.DataFrame(summaries)


def by_target(rows: list[dict], dataset: str, eps: float) -> pd.DataFrame:
    """A line for each target network, with the preset's settings: summary_of its rows."""
    wanted = (dataset, eps, {})
    own = [row for row in rows if (row["dataset"], row["eps"], row["settings"]) == wanted]
    in_order = sorted(groups(own, "target"), key=_network)
    lines = [{"target": group[0]["target"], **summary_of(group)} for group in in_order]
    return pd.DataFrame(lines)


def summary_of(rows: list[dict]) -> dict:
    """Rows of one film, target network and settings in texts.

    seeds: how many; floor and clean: L1 of the reseeded forger to M, and of M to x; by the name of
    each method: how many times the floor its L1 to M is.
    """
    table = with_times(rows)
    summary = {
        "seeds": table.seed.nunique(),
        "floor": spread(select(table, "reseed", "M").l1, 4),
        "clean": spread(select(table, "clean", "x").l1, 4),
    }
    for name in of_scenario(2):
        if name != "clean":
            summary[name] = spread(select(table, name, "M").times, 2)
    return summary


def with_times(rows: list[dict]) -> pd.DataFrame:
    """The rows, and `times`: L1 over that of the reseeded forger to M, of the same seed."""
    table = pd.DataFrame(rows)
    floor = select(table, "reseed", "M").set_index("seed").l1
    table["times"] = table.l1 / table.seed.map(floor)
    return table


def select(table: pd.DataFrame, method: str, reference: str) -> pd.DataFrame:
    """The rows of a method whose forger is held against this reference: M or x."""
    return table[(table.method == method) & (table.reference == reference)]


def spread(values: pd.Series, digits: int = 3, unit: str = "") -> str:
    """Mean, and range in brackets, as text; a dash where nothing was measured."""
    values = values.dropna()
    if values.empty:
        return "–"
    mean, low, high = (f"{x:.{digits}f}" for x in (values.mean(), values.min(), values.max()))
    if low == high:
        return mean + unit
    return f"{mean}{unit} ({low} to {high})"


def groups(rows: list[dict], *names: str) -> list[list[dict]]:
    """The rows with equal values under these names, together."""
    together: dict[str, list[dict]] = {}
    for row in rows:
        key = repr([row[name] for name in names])
        together.setdefault(key, []).append(row)
    return list(together.values())


def _network(rows: list[dict]) -> int:
    return NETWORKS.index(rows[0]["target"])
