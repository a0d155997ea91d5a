"""PGD that is told of a JPEG: within eps, and nearer to its end than PGD that is not."""

import torch
from jpeg_bound import EPS, pgd_through_jpeg

from idf import attacks
from idf.config import HAIR, load_config
from idf.data.faces import open_faces
from idf.data.transforms import TRANSFORMS
from idf.losses import forge, target_labels
from idf.metrics import l2
from idf.zoo.grid import EDITORS, GRAY_BOX


def test_who_knows_of_the_jpeg_moves_more_behind_it():
    config, jpeg = load_config("demo"), TRANSFORMS["jpeg-75"]
    _, x, c = next(open_faces(config, "test", limit=2).in_order(2))
    targets = target_labels(c, config.domains, HAIR)
    editor = EDITORS[GRAY_BOX[0]].load(config)
    told = pgd_through_jpeg(editor, x, targets, 75)
    plain = attacks.pgd(editor, x, targets, EPS)
    assert (told - x).abs().max() <= EPS + 1e-6 and told.abs().max() <= 1
    with torch.no_grad():
        y = forge(editor, jpeg(x), targets)
        moved = [l2(y, forge(editor, jpeg(image), targets)).mean() for image in (told, plain)]
    assert moved[0] > 3 * moved[1]
