"""A small folder in CelebA's layout, of procedural faces, for tests without CelebA."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from idf.data.drawn.faces import ATTRIBUTES, render_faces

CELEBA_ATTRIBUTES = tuple(
    """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
    Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
    Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
    Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
    Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
    """.split()
)


def write_stand_in(
    folder: str | Path, count: int = 60, layout: str = "official", seed: int = 0
) -> Path:
    """`count` JPEGs of 178x218 with CelebA's lists and 40 attributes, random where faces lack them.

    layout: "official", with five pictures per identity, or "kaggle" (CSV, doubled folder, no
    identities). In both the last twelfth is the test part, and the twelfth before it validation.
    """
    folder = Path(folder)
    names = [f"{i + 1:06d}.jpg" for i in range(count)]
    batch = render_faces(range(seed * count, (seed + 1) * count), size=178)
    pictures = folder / "img_align_celeba" / ("img_align_celeba" if layout == "kaggle" else "")
    pictures.mkdir(parents=True)
    for name, image in zip(names, batch.images.permute(0, 2, 3, 1).numpy(), strict=True):
        padded = np.pad(image, ((20, 20), (0, 0), (0, 0)), mode="edge")
        Image.fromarray(padded).save(pictures / name, quality=95)

    values = np.random.default_rng(seed).integers(0, 2, (count, len(CELEBA_ATTRIBUTES))) * 2 - 1
    for k, name in enumerate(ATTRIBUTES):
        values[:, CELEBA_ATTRIBUTES.index(name)] = batch.attributes[:, k].int() * 2 - 1
    labels = [[name, *row] for name, row in zip(names, values, strict=True)]
    identities = [i // 5 + 1 for i in range(count)]
    partition = [
        [name, _part(i, identities[-1])] for name, i in zip(names, identities, strict=True)
    ]

    if layout == "kaggle":
        _write(folder / "list_attr_celeba.csv", [["image_id", *CELEBA_ATTRIBUTES], *labels], ",")
        _write(folder / "list_eval_partition.csv", [["image_id", "partition"], *partition], ",")
    else:
        _write(folder / "list_attr_celeba.txt", [[count], CELEBA_ATTRIBUTES, *labels], " ")
        _write(folder / "list_eval_partition.txt", partition, " ")
        _write(folder / "identity_CelebA.txt", zip(names, identities, strict=True), " ")
    return folder


def _part(identity: int, last: int) -> int:
    """0 training, 1 validation, 2 test."""
    each = max(1, last // 12)
    if identity > last - each:
        return 2
    return 1 if identity > last - 2 * each else 0


def _write(path: Path, rows: Iterable, separator: str) -> None:
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows))
