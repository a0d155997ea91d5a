"""Video files, by PyAV: decoding frame by frame, and writing a film that browsers play."""

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

import av
import numpy as np

from idf.config import UserError

EARLY = 1.0  # seconds by which a film may end before its header says so: sound is often longer


class DamagedFilm(UserError):
    """Behind the last frame that can be read; says at which second and frame that is."""


def read_frames(
    path: str | Path, most: int = 0, start: float = 0.0
) -> Iterator[tuple[np.ndarray | None, float]]:
    """Each frame as uint8 (H, W, 3), upright by the rotation flag, with its time in seconds.

    most: stop after so many (0: none). Frames before `start` seconds come as None, so that the
    others keep their number. Raises UserError, naming the file, where it is no video or has no
    picture track, and DamagedFilm where it ends in damage.
    """
    number, time, begin = 0, 0.0, None
    try:
        with av.open(str(path)) as container:
            stream = _picture_track(container, path)
            for frame, time in _decoded(container, stream, start):
                begin = time if begin is None else begin
                yield frame, time
                number += 1
                if number == most:
                    return
            missing = _length(container, stream) - (time - (begin or 0.0))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        if number:
            where = f"is damaged behind {time:.1f} s, frame {number} ({_reason(error)})"
            raise DamagedFilm(f"{path} {where}") from error
        remedy = "give an MP4, MOV or WebM file"
        if _lacks_index(path):
            remedy = "its end, where the list of its frames is, was lost: copy it again"
        raise UserError(
            f"{path} cannot be read as a video ({_reason(error)}): {remedy}."
        ) from error
    if number and missing > EARLY:
        raise DamagedFilm(
            f"{path} ends at {time:.1f} s, frame {number}, {missing:.1f} s before the end that its "
            "header names"
        )


def _picture_track(container, path: str | Path):
    if not container.streams.video:
        raise UserError(f"{path} has sound but no picture track: give a video.")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _decoded(container, stream, start: float) -> Iterator[tuple[np.ndarray | None, float]]:
    rate = float(stream.average_rate or 25)
    has_times = True
    for number, frame in enumerate(_pictures(container, stream, start)):
        # some containers have no times: from the first such frame on they are counted
        has_times = has_times and frame.time is not None
        time = frame.time if has_times else number / rate
        if time < start:
            yield None, time
        elif frame.is_corrupt:
            raise ValueError("the decoder had to guess a part of the picture")
        else:
            quarter_turns = round(frame.rotation / 90) % 4
            yield np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns), time


def _pictures(container, stream, start: float) -> Iterator[av.VideoFrame]:
    """The decoder's frames; damage ahead of `start` seconds is passed over."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            if packet.pts is None or packet.pts * stream.time_base >= start:
                raise


def film_length(path: str | Path) -> float:
    """Seconds, as the header has it; 0 where it does not say."""
    with av.open(str(path)) as container:
        return _length(container, _picture_track(container, path))


def _length(container, stream) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _lacks_index(path: str | Path) -> bool:
    """Is this the first part of an MP4 or MOV? Most have their index (moov) at the end."""
    if not Path(path).is_file() or not Path(path).stat().st_size:
        return False
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content[4:8] == b"ftyp" and content.find(b"moov") < 0


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
