"""Does anything outlive a JPEG whose colours have a quarter of the pixels? PGD that is told of it.

PGD on the forger's own weights, its gradient through Kornia's differentiable JPEG; the verdict is
that of Pillow's. What a white box cannot reach here, no defence for unknown forgers will.

    python experiments/jpeg_bound.py [--data FOLDER] [--images 16]
"""

import sys

import torch
import typer

from idf.commands.options import Data, Images, Preset, find_data
from idf.config import HAIR, UserError, load_config
from idf.data.faces import open_faces
from idf.data.transforms import TRANSFORMS
from idf.losses import Editor, forge, target_labels
from idf.metrics import dsr, l2
from idf.zoo.grid import EDITORS, GRAY_BOX

EPS, STEPS, STEP = 0.05, 40, 0.01
QUALITIES = (95, 75)


def pgd_through_jpeg(
    editor: Editor, x: torch.Tensor, targets: torch.Tensor, quality: float
) -> torch.Tensor:
    """x' (B, 3, S, S) within EPS of x, found through a JPEG of this quality."""
    from kornia.enhance import jpeg_codec_differentiable

    def compressed(image: torch.Tensor) -> torch.Tensor:
        qualities = torch.full((len(image),), float(quality))
        return 2 * jpeg_codec_differentiable((image + 1) / 2, qualities) - 1

    with torch.no_grad():
        y = forge(editor, compressed(x), targets)
    delta = EPS * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1)
    for _ in range(STEPS):
        delta.requires_grad_(True)
        y_infected = forge(editor, compressed((x + delta).clamp(-1, 1)), targets)
        (slope,) = torch.autograd.grad((y_infected - y).square().mean(), delta)
        delta = (delta.detach() + STEP * slope.sign()).clamp(-EPS, EPS)
    return (x + delta).clamp(-1, 1)


def main(preset: Preset = "demo", data: Data = "", images: Images = 16) -> None:
    """A line for each quality and gray-box forger."""
    config = load_config(preset, data_root=find_data(data))
    faces = open_faces(config, "test", limit=images)
    _, x, c = next(faces.in_order(images))
    targets = target_labels(c, config.domains, HAIR)
    for name in GRAY_BOX:
        editor = EDITORS[name].load(config)
        for quality in QUALITIES:
            jpeg = TRANSFORMS[f"jpeg-{quality}"]
            x_infected = pgd_through_jpeg(editor, x, targets, quality)
            with torch.no_grad():
                y, y_infected = (forge(editor, jpeg(image), targets) for image in (x, x_infected))
            reached = f"DSR {dsr(y, y_infected):.2f}, L2 {l2(y, y_infected).mean():.3f}"
            print(f"{name}, JPEG {quality}: {reached}", flush=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
