"""What `idf protect` tells, as sentences."""

import json
from pathlib import Path

from idf.config import RESULTS


def counted(count: int, what: str) -> str:
    """The count with its noun: 1 face, 2 faces."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def account(out: Path, row: dict) -> str:
    """Of one photo that was protected; row: as idf.apps.photo.batch.protect_file gives it."""
    return (
        f"{out}: {counted(row['faces'], 'face')}, changed by at most {row['largest']} of 255 grey "
        f"levels, PSNR {row['psnr']:.1f} dB, {row['seconds']:.1f} s"
    )


def place(number: int, row: dict) -> str:
    """Of one face: a row of idf.apps.photo.overview.place_of."""
    x, y = row["centre"]
    weak = {"small": ", too small to hold", "cut": ", cut too close to hold"}.get(row["weak"], "")
    return f"  face {number}: its crop is {row['side']} px wide, around ({x}, {y}){weak}"


def summary(new: list[dict], before: int, failed: int, folders: list[str]) -> str:
    """Of a batch: the rows of new copies, how many were there before, where all of them lie."""
    faces = sum(row["faces"] for row in new)
    parts = [f"{counted(len(new), 'photo')} with {counted(faces, 'face')} protected"]
    if before:
        parts.append(f"{before} protected before")
    if failed:
        parts.append(f"{failed} not")
    where = folders[0]
    if len(folders) > 1:
        where += f" and {len(folders) - 1} more folders"
    return f"{', '.join(parts)}: {where}"


def warning_of_jpeg(eps: float) -> str:
    """How much JPEG takes away, by the measured eps that lies nearest."""
    file = RESULTS / "protect.json"
    if not file.is_file():
        return "JPEG weakens the protection: publish a PNG where you can."
    results = json.loads(file.read_text())
    row = min(results["rows"], key=lambda row: abs(row["eps"] - eps))
    jpegs = [row for row in results["survival"] if row["variant"] == "jpeg_75"]
    nearest = min((row["eps"] for row in jpegs), key=lambda measured: abs(measured - eps))
    by_size = ", ".join(
        f"{row['dsr']:.0%} at {row['side']} px" for row in jpegs if row["eps"] == nearest
    )
    return (
        f"JPEG weakens the protection: at eps {row['eps']:g} it moved {row['dsr']:.0%} of the "
        f"forgeries of {row['photos']} portraits as PNG, {row['dsr_jpeg_95']:.0%} as the JPEG that "
        f"is written here, and {row['dsr_jpeg_75']:.0%} as JPEG of quality 75, which is what most "
        f"sites make of a photo. The larger the face, the more is left: by the width of its crop, "
        f"{by_size} (eps {nearest:g}, quality 75). Publish a PNG where you can."
    )
