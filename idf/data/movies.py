"""Video files, by PyAV: decoding frame by frame, and writing a film that browsers play."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from idf.config import UserError


def read_frames(path: str | Path, most: int = 0) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame as uint8 (H, W, 3), upright by the rotation flag, with its time in seconds.

    most: stop after so many (0: none). Raises UserError, naming the file, where it is no video or
    has no picture track.
    """
    try:
        with av.open(str(path)) as container:
            yield from _decoded(container, path, most)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read as a video ({_reason(error)}): give an MP4, MOV or WebM file."
        ) from error


def _decoded(container, path: str | Path, most: int) -> Iterator[tuple[np.ndarray, float]]:
    if not container.streams.video:
        raise UserError(f"{path} has sound but no picture track: give a video.")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or 25)
    has_times = True
    for number, frame in enumerate(container.decode(stream)):
        if most and number == most:
            return
        # some containers have no times: from the first such frame on they are counted
        has_times = has_times and frame.time is not None
        time = frame.time if has_times else number / rate
        quarter_turns = round(frame.rotation / 90) % 4
        yield np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns), time


def _reason(error: Exception) -> str:
    message = str(getattr(error, "strerror", "") or error)
    return message.split("\n")[0] or type(error).__name__


def write_film(path: str | Path, frames: np.ndarray, fps: float) -> Path:
    """An H.264 film that browsers play, from uint8 (N, H, W, 3) with even H and W."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"crf": "18", "preset": "fast"}
        stream = container.add_stream("libx264", rate=round(fps), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())  # what the encoder still holds back
    return path
