"""The protection in numbers: photos protected, written, read back and forged."""

import statistics
import time
from pathlib import Path

from idf.apps.photo.check import EDITORS, VARIANTS, check, mean_dsr, mean_success
from idf.apps.photo.files import open_photo
from idf.apps.photo.protection import protect
from idf.apps.photo.words import counted
from idf.config import UserError


def measure(pairs: list[tuple[Path, Path]], eps: float) -> dict:
    """Of photos and where their copies go: DSR by editor and variant, success of the edits, PSNR.

    Seconds a photo are those after the first, which warms up. Raises UserError for fewer than two
    photos with a face.
    """
    # protect each photo, and read its copy back
    seconds, psnr, faces, missing = [], [], [], []
    for source, out in pairs:
        start = time.monotonic()
        try:
            psnr.append(protect(source, out, eps).psnr)
            seconds.append(time.monotonic() - start)
            faces += check(open_photo(source), open_photo(out))[:1]
        except UserError as error:
            missing.append(str(error))
    if len(faces) < 2:
        raise UserError(
            f"A face was found in {len(faces)} of {counted(len(pairs), 'photo')}: give at least "
            "two photos of one face each."
        )

    # DSR: of each variant by editor, and its mean over the editors
    dsr_by_editor = {}
    for variant in VARIANTS:
        dsr_by_editor[variant] = {editor: mean_dsr(faces, editor, variant) for editor in EDITORS}
    dsr = {name: statistics.mean(shares.values()) for name, shares in dsr_by_editor.items()}
    success = {}
    for variant in ("clean", "protected"):
        success[variant] = {editor: mean_success(faces, editor, variant) for editor in EDITORS}

    row = {
        "eps": eps,
        "photos": len(pairs),
        "faces_found": len(faces),
        "missing": missing,
        "seconds_per_photo": statistics.mean(seconds[1:]),
        "slowest_photo": max(seconds[1:]),
        "dsr": dsr["protected"],
        "dsr_noise": dsr["noise"],
        "dsr_jpeg_95": dsr["jpeg_95"],
        "dsr_jpeg_75": dsr["jpeg_75"],
        "dsr_by_editor": dsr_by_editor,
        "psnr": statistics.mean(psnr),
        "psnr_least": min(psnr),
        "edits_seen": success,
    }
    print({name: value for name, value in row.items() if not isinstance(value, dict)}, flush=True)
    return row
