"""`idf results`: measure the shipped weights on held-out faces, write data/results/ and README."""

from typing import Annotated

import pandas as pd
import typer

from idf.commands.options import Data, Preset, Seed, find_data
from idf.commands.readme import write_table
from idf.config import RESULTS, ROOT, Config, load_config
from idf.data.faces import Faces, open_faces
from idf.data.files import read_json_rows, save_json
from idf.evaluation import Forger, clean_quality, defence, untrained_poisoner
from idf.figures.tables import markdown
from idf.judge import judge_accuracy
from idf.methods import Context, of_scenario, protection
from idf.zoo.forgers import ATTACKERS, domains_config, make_forgers
from idf.zoo.load import judged_domains, load_judge, load_poisoner, load_surrogate, ships
from idf.zoo.manifest import command, hardware

EPS = (0.01, 0.02, 0.03, 0.05)
FULL_EPS = EPS[-1]
# these take minutes, so they are measured at FULL_EPS alone
GRADIENT_ATTACKS = ("ruiz", "ruiz-white-box", "i-fgsm")
POISONERS = {
    "ours": "poisoner",
    "ours-no-ats": "poisoner_no_ats",
    "ours-queries": "poisoner_queries",
}
# what Table 1 alone has (`idf table1`)
ELSEWHERE = ("keyless", "keyless-no-ats", "keyless-untrained", "ruiz-per-class")
MEASURED = tuple(
    name for name in of_scenario(1) if name not in ELSEWHERE and not name.startswith("tiles")
)
DATASETS = {"procedural": "Procedural faces", "celeba": "CelebA"}
FILE = RESULTS / "attribute_defence.json"
MARKS = ("<!-- results: written by `idf results` -->", "<!-- end of results -->")

Images = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Held-out faces.")]
TableOnly = Annotated[
    bool, typer.Option("--table", help="Only write README's table, from the stored results.")
]


def main(
    preset: Preset = "demo",
    data: Data = "",
    seed: Seed = 0,
    images: Images = 400,
    table_only: TableOnly = False,
) -> int:
    """Measures the weights of a preset; the rows of other data sets stay."""
    if not table_only:
        config = load_config(preset, data_root=find_data(data), seed=seed)
        rows = measure(config, images)
        kept = [row for row in read_json_rows(FILE) if row["dataset"] != config.dataset]
        order = list(DATASETS)
        save_json(FILE, sorted(kept + rows, key=lambda row: order.index(row["dataset"])))
    write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
    return 0


def measure(config: Config, images: int) -> list[dict]:
    """The rows of one data set: each method, against each forger whose weights ship."""
    # the networks that the methods draw on
    surrogate, _ = load_surrogate(config)
    poisoners = {
        method: load_poisoner(config, name)
        for method, name in POISONERS.items()
        if ships(config.weights, name)
    }
    poisoners["untrained-pg"] = untrained_poisoner(config, open_faces(config, "validation"))

    # the judge, for all domains of SD and DD
    judged = open_faces(config, "test", judged_domains(config), limit=images)
    accuracy = judge_accuracy(load_judge(config), judged)

    rows = []
    own = open_faces(config, "test", limit=images)
    for key, forger in make_forgers(config).items():
        faces = open_faces(domains_config(config, key), "test", limit=images)
        quality = clean_quality(forger, faces)
        accuracies = [accuracy[domain] for domain in forger.domains]
        facts = {
            "target": stored_name(key, config.target.network),
            **quality,
            "judge_accuracy": sum(accuracies) / len(accuracies),
        }
        context = Context(
            config.seed, poisoners, surrogate, config.domains, forger.editor, forger.domains
        )
        rows += measure_forger(config, forger, context, faces, own, facts)

    # what could not be computed is said once
    left_out = {}
    for row in rows:
        left_out |= row.pop("left_out")
    print(*left_out.values(), sep="\n")
    return rows


def measure_forger(
    config: Config, forger: Forger, context: Context, faces: Faces, own: Faces, facts: dict
) -> list[dict]:
    """The rows of one forger. own: the same faces with the surrogate's domains as labels."""
    rows = []
    for eps in EPS:
        for method in MEASURED:
            lacks_weights = method in POISONERS and method not in context.poisoners
            if lacks_weights or (method in GRADIENT_ATTACKS and eps != FULL_EPS):
                continue
            labels = faces.labels if method == "ruiz-white-box" else own.labels
            measured = defence(forger, protection(method, context, eps), faces, labels)
            row = {
                "dataset": config.dataset,
                "size": config.size,
                "method": method,
                "target": facts["target"],
                "domains": forger.setting,
                "eps": eps,
                **measured,
                **facts,
                "images": len(faces),
                "seed": config.seed,
                "hardware": hardware(),
                "command": command(),
            }
            print(
                f"{row['target']} {row['domains']} eps {eps} {method}: DSR {row['dsr']:.3f} "
                f"L2 {row['l2']:.3f} PSNR {row['psnr']:.1f}",
                flush=True,
            )
            rows.append(row)
    return rows


def stored_name(key: str, network: str) -> str:
    """How rows name an attacker whose target network is this: Res9 and Res9-tuned, say."""
    return ATTACKERS[key].target.replace("Res6", network)


def readme_table(rows: list[dict]) -> str:
    """Markdown: for each data set the forgers' own quality, then what every method does to them."""
    parts = []
    for dataset, heading in DATASETS.items():
        own = [row for row in rows if (row["dataset"], row["eps"]) == (dataset, FULL_EPS)]
        if own:
            parts += tables_of_dataset(heading, own)
    return "\n\n".join(parts)


def tables_of_dataset(heading: str, rows: list[dict]) -> list[str]:
    """A title, the table of the forgers, and that of DSR / L2 at FULL_EPS."""
    first = rows[0]
    network = first["target"].removesuffix("-tuned")
    attackers = {
        (stored_name(key, network), attacker.setting): attacker
        for key, attacker in ATTACKERS.items()
    }
    table = pd.DataFrame(rows)
    attacker_of_row = [attackers[row["target"], row["domains"]] for row in rows]
    table["heading"] = [attacker.heading for attacker in attacker_of_row]
    table["about"] = [attacker.about for attacker in attacker_of_row]

    # a line a forger: the quality of its clean forgeries
    forgers = table.drop_duplicates("heading")
    quality = pd.DataFrame(
        {
            "forger": forgers.heading,
            "": forgers.about,
            "edit success": forgers.edit_success.map("{:.2f}".format),
            "reconstruction L1": forgers.reconstruction_l1.map("{:.3f}".format),
        }
    )

    # a line a method, a column a forger
    table["effect"] = [f"{row['dsr']:.1%} / {row['l2']:.3f}" for row in rows]
    measured = set(table.method)
    methods = {name: m.label for name, m in of_scenario(1).items() if name in measured}
    effects = table.pivot(index="method", columns="heading", values="effect")
    effects = effects.reindex(index=list(methods), columns=list(forgers.heading)).fillna("")
    effects.insert(0, "DSR / L2 at eps .05 (6.4/255)", list(methods.values()))
    psnr = table.drop_duplicates("method").set_index("method").psnr
    effects["PSNR of x'"] = psnr.map("{:.1f} dB".format)

    title = (
        f"**{heading}, {first['size']} px, {first['images']} held-out faces, {network}**, "
        f"judge accuracy {first['judge_accuracy']:.3f}. Clean forgeries:"
    )
    return [title, markdown(quality), markdown(effects)]
