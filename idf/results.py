"""`idf results`: measures the shipped weights on held-out faces and writes data/results/ and the README's table."""

import json
from pathlib import Path

from idf.checkpoint import save_json, write_atomically
from idf.config import RESULTS, ROOT, Config, UserError, find_data, load_config
from idf.data import open_faces
from idf.evaluation import Forger, clean_quality, defence, make_methods, untrained_poisoner
from idf.judge import judge_accuracy
from idf.shipped import (
    judged_domains,
    load_judge,
    load_poisoner,
    load_surrogate,
    load_target,
    ships,
    target_name,
    wild,
)
from idf.weights import command, hardware

EPS = (0.01, 0.02, 0.03, 0.05)
FILE = RESULTS / "attribute_defence.json"
MARKS = ("<!-- results: written by `idf results` -->", "<!-- end of results -->")


def add_arguments(parser) -> None:
    parser.add_argument(
        "--preset", default="demo", help="the preset whose weights ship (default: demo)"
    )
    parser.add_argument(
        "--data", default="", metavar="FOLDER", help="a CelebA folder (default: procedural faces)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--images", type=int, default=400, help="held-out faces (default: 400)")
    parser.add_argument(
        "--table", action="store_true", help="only write the README's table from the stored results"
    )


def main(args) -> int:
    if not args.table:
        config = load_config(args.preset, data_root=find_data(args.data), seed=args.seed)
        rows = measure(config, args.images)
        kept = [row for row in stored() if row["dataset"] != config.dataset]
        save_json(FILE, sorted(kept + rows, key=lambda row: row["dataset"] != "procedural"))
    write_table(ROOT / "README.md", table(stored()))
    return 0


def stored(file: Path = FILE) -> list[dict]:
    """The rows of a results file, none if it does not exist yet."""
    return json.loads(file.read_text()) if file.is_file() else []


def make_forgers(config: Config, folder: Path | None = None) -> list[tuple[Config, Forger]]:
    """Who forges: M trained apart, M tuned on from SM's weights, SM itself (white-box), and M of other domains.

    folder: where their weights lie, config.weights unless told. Those whose file is missing are left out.
    """
    folder = folder or config.weights
    editors = {("Res6", "SD"): (config, load_target(config, folder))}
    if ships(folder, target_name(config, tuned=True)):
        editors["Res6-tuned", "SD"] = (config, load_target(config, folder, tuned=True))
    editors["surrogate", "SD"] = (config, load_surrogate(config, folder)[0])
    if ships(folder, target_name(wild(config))):
        editors["Res6", "DD"] = (wild(config), load_target(wild(config), folder))
    judged, judge = judged_domains(config), load_judge(config, folder)
    forgers = []
    for (name, setting), (at, editor) in editors.items():
        columns = [judged.index(domain) for domain in at.domains]
        own_judge = lambda x, columns=columns: judge(x)[:, columns]
        forgers.append((at, Forger(name, setting, editor, at.domains, own_judge)))
    return forgers


def measure(config: Config, images: int) -> list[dict]:
    """The rows of one data set: every method at eps .05, those without PGD at the smaller eps too."""
    rows, left_out = [], {}
    surrogate, _ = load_surrogate(config)
    all_judged = judged_domains(config)
    own = open_faces(config, "test", limit=images)
    files = {
        "ours": "poisoner",
        "ours-no-ats": "poisoner_no_ats",
        "ours-queries": "poisoner_queries",
    }
    poisoners = {
        method: load_poisoner(config, name)
        for method, name in files.items()
        if ships(config.weights, name)
    }
    poisoners["untrained-pg"] = untrained_poisoner(config, open_faces(config, "validation"))
    accuracy = judge_accuracy(
        load_judge(config), open_faces(config, "test", all_judged, limit=images)
    )
    for at, forger in make_forgers(config):
        faces = open_faces(at, "test", limit=images)
        quality = clean_quality(forger, faces)
        quality["judge_accuracy"] = sum(accuracy[name] for name in at.domains) / len(at.domains)
        for eps in EPS:
            for method, protect in make_methods(config, surrogate, poisoners, forger, eps).items():
                if "ruiz" in method and eps != EPS[-1]:
                    continue
                labels = faces.labels if method == "ruiz-white-box" else own.labels
                measured = defence(forger, protect, faces, labels)
                left_out |= measured.pop("left_out")
                row = {
                    "dataset": config.dataset,
                    "size": config.size,
                    "method": method,
                    "target": forger.name,
                    "domains": forger.setting,
                    "eps": eps,
                    **measured,
                    **quality,
                    "images": len(faces),
                    "seed": config.seed,
                    "hardware": hardware(),
                    "command": command(),
                }
                print(
                    f"{forger.name} {forger.setting} eps {eps} {method}: DSR {row['dsr']:.3f} L2 {row['l2']:.3f} "
                    f"PSNR {row['psnr']:.1f}",
                    flush=True,
                )
                rows.append(row)
    print(*left_out.values(), sep="\n")
    return rows


LABELS = {
    "ours": "PG, alternating (the paper)",
    "ours-no-ats": "PG, without alternation (†)",
    "ours-queries": "PG, alternating with queries to the forger trained apart",
    "ruiz": "Ruiz et al. PGD, transferred",
    "ruiz-white-box": "Ruiz et al. PGD, white-box",
    "random-noise": "control: uniform random noise",
    "random-colour": "control: random colour noise, +-eps everywhere",
    "brightened": "control: brightened by eps",
    "untrained-pg": "control: PG with random weights",
}
KINDS = {  # heading of the column, and the words that say who forges
    ("Res6", "SD"): ("apart", "trained apart (gray-box)"),
    ("Res6-tuned", "SD"): ("tuned", "trained on from the surrogate's weights, with other faces"),
    ("surrogate", "SD"): ("surrogate", "the surrogate itself (white-box)"),
    ("Res6", "DD"): ("apart, DD", "trained apart on domains that PG never met"),
}


def table(rows: list[dict]) -> str:
    """Markdown: for each data set the forgers' own quality first, then DSR / L2 of every method at eps .05 on each."""
    lines = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        cells = {
            (r["target"], r["domains"], r["method"]): r
            for r in rows
            if (r["dataset"], r["eps"]) == (dataset, EPS[-1])
        }
        forgers = {
            kind: next(r for k, r in cells.items() if k[:2] == kind)
            for kind in KINDS
            if any(k[:2] == kind for k in cells)
        }
        first = next(iter(cells.values()))
        where = {"procedural": "Procedural faces", "celeba": "CelebA"}[dataset]
        lines += [
            f"**{where}, {first['size']} px, {first['images']} held-out faces, Res6**, judge accuracy "
            f"{first['judge_accuracy']:.3f}. Clean forgeries:",
            "",
            "| forger | | edit success | reconstruction L1 |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {KINDS[kind][0]} | {KINDS[kind][1]} | {r['edit_success']:.2f} | {r['reconstruction_l1']:.3f} |"
            for kind, r in forgers.items()
        ]
        names = [KINDS[kind][0] for kind in forgers]
        lines += [
            "",
            f"| DSR / L2 at eps .05 (6.4/255) | {' | '.join(names)} | PSNR of x' |",
            "|---|" + "---|" * (len(names) + 1),
        ]
        for method, label in LABELS.items():
            found = [cells.get((*kind, method)) for kind in forgers]
            if any(found):
                values = [f"{r['dsr']:.1%} / {r['l2']:.3f}" if r else "" for r in found]
                loudest = next(r for r in found if r)["psnr"]
                lines.append(f"| {label} | {' | '.join(values)} | {loudest:.1f} dB |")
        lines.append("")
    return "\n".join(lines).strip()


def write_table(readme: Path, lines: str, marks: tuple[str, str] = MARKS) -> None:
    """Replace what stands between the two marks."""
    before, _, rest = readme.read_text().partition(marks[0])
    _, found, after = rest.partition(marks[1])
    if not found:
        raise UserError(
            f"{readme} lacks the lines {marks[0]} and {marks[1]}: put them back where the table should stand."
        )
    new = f"{before}{marks[0]}\n{lines}\n{marks[1]}{after}"
    write_atomically(readme, lambda temporary: temporary.write_text(new))
