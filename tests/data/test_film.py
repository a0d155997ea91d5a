"""Films: cropping, landmark files, cuts, files broken in many ways, and the split by time."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from idf.config import UserError, load_film_config
from idf.data import footage, sightings
from idf.data.drawn.film import talking_face
from idf.data.film import PARTS, open_film, wrong_pairs
from idf.data.footage import CROP, LEAST_FRAMES, find_landmarks, other_person
from idf.data.movies import read_frames, write_film

SIZE = 128


def film(frames=range(60), person=12, size=SIZE):
    """Frames as of a camera, uint8 (N, H, W, 3), and landmarks in its pixels (0 is an edge)."""
    batch = talking_face(person, frames, size)
    return batch.images.permute(0, 2, 3, 1).numpy(), batch.landmarks.numpy() + 0.5


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    """A film of 60 frames and its landmark file."""
    folder = tmp_path_factory.mktemp("film")
    frames, landmarks = film()
    np.savez(folder / "points.npz", landmarks=landmarks)
    return write_film(folder / "film.mp4", frames, 25), folder / "points.npz"


def config_of(path, landmarks="", **settings):
    settings = {"frames": 0, "size": 64, **settings}
    return load_film_config("smoke", video=str(path), landmarks=str(landmarks), **settings)


def test_parts_follow_each_other_in_time():
    frames = open_film(load_film_config("smoke", frames=100))
    parts = [frames.part(name).numbers for name in PARTS]
    assert sum(parts, []) == list(range(100)) and [len(p) for p in parts] == [85, 5, 10]
    assert torch.equal(frames.part("test").landmarks, frames.landmarks[90:])
    x, points = frames[3]
    assert x.shape == (3, 32, 32) and -1 <= x.min() and x.max() <= 1 and points.shape == (68, 2)
    assert frames.x([1, 3]).shape == (2, 3, 32, 32) and torch.equal(frames.x([1, 3])[1], x)
    with pytest.raises(UserError, match="Unknown part 'all' of a video: use one of train"):
        frames.part("all")


def test_wrong_pairs_are_half_a_second_late():
    frames = open_film(load_film_config("smoke", frames=50))
    wrong = wrong_pairs(frames)
    assert torch.equal(wrong.landmarks[12:], frames.landmarks[:-12]), "25 frames a second"
    assert wrong.images is frames.images


def test_film_and_landmark_file(shot):
    path, points = shot
    frames = open_film(config_of(path, points))
    assert len(frames) == 60 and frames.fps == 25 and frames.dropped == {} and frames.notes == ()
    drawn = talking_face(12, range(60), SIZE)
    width = (drawn.landmarks[:, :, 0].amax(1) - drawn.landmarks[:, :, 0].amin(1)).median()
    scale = 64 / min(CROP * width, SIZE)
    own = frames.landmarks[10] - frames.landmarks[10, 30]
    expected = (drawn.landmarks[10] - drawn.landmarks[10, 30]) * scale
    assert torch.allclose(own, expected, atol=0.05), "moved with the crop"
    # the crop shows the face where the landmarks say: the iris is darker than the skin beside it
    x = frames.x([10])[0]
    eye = frames.landmarks[10, 36:42].mean(0).round().int()
    cheek = (frames.landmarks[10, 30] + torch.tensor([9.0, 2.0])).round().int()
    assert x[:, eye[1], eye[0]].mean() < x[:, cheek[1], cheek[0]].mean() - 0.3


def test_the_cache_is_reused_and_a_new_file_is_not_taken_for_the_old(shot, tmp_path, monkeypatch):
    path, points = shot
    first = open_film(config_of(path, points))
    monkeypatch.setattr(footage, "read_frames", None)
    assert np.array_equal(open_film(config_of(path, points)).images, first.images)
    with pytest.raises(TypeError):
        open_film(config_of(path, points, frames=55))


def write_csv(path, table, failed=()):
    """As OpenFace writes it: all x, then all y."""
    lines = ["frame, success, " + ", ".join(f"{axis}_{i}" for axis in "xy" for i in range(68))]
    for number, points in enumerate(table):
        cells = [number + 1, int(number not in failed), *points.T.flatten()]
        lines.append(", ".join(map(str, cells)))
    path.write_text("\n".join(lines))
    return path


def test_a_csv_as_openface_writes_it(shot, tmp_path):
    path, points = shot
    table = write_csv(tmp_path / "points.csv", np.load(points)["landmarks"])
    from_csv, from_npz = open_film(config_of(path, table)), open_film(config_of(path, points))
    assert torch.equal(from_csv.landmarks, from_npz.landmarks)


def test_frames_without_landmarks_are_dropped_and_counted(shot, tmp_path):
    path, points = shot
    table = np.load(points)["landmarks"]
    table[5:8] = np.nan
    table[20] += 500
    np.savez(tmp_path / "gaps.npz", landmarks=table)
    frames = open_film(config_of(path, tmp_path / "gaps.npz"))
    assert len(frames) == 56 and not {5, 6, 7, 20} & set(frames.numbers)
    assert frames.dropped == {"no landmarks in the file": 3, "face leaves the crop": 1}


def refuse(path, words, landmarks="", **settings):
    with pytest.raises(UserError, match=words) as caught:
        open_film(config_of(path, landmarks, **settings))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_files_that_are_no_video(tmp_path):
    refuse(tmp_path / "none.mp4", "There is no video")
    for name, content in (("text.mp4", b"no video at all"), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(content)
        refuse(tmp_path / name, f"{name} cannot be read as a video")


def test_a_truncated_video(shot, tmp_path):
    content = shot[0].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 3])
    words = r"cut.mp4 cannot be read as a video \(.*\): its end, .* was lost: copy it again\."
    refuse(tmp_path / "cut.mp4", words, shot[1])


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """A film of 120 frames with its header in front, as for the web, and its landmarks."""
    folder = tmp_path_factory.mktemp("streamed")
    frames, landmarks = film(range(120))
    with av.open(str(folder / "film.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    np.savez(folder / "points.npz", landmarks=landmarks)
    return (folder / "film.mp4").read_bytes(), folder / "points.npz"


def test_a_film_that_was_copied_in_part_is_used_as_far_as_it_goes(streamed, tmp_path):
    content, marks = streamed
    (tmp_path / "part.mp4").write_bytes(content[: len(content) * 2 // 3])
    opened = open_film(config_of(tmp_path / "part.mp4", marks))
    count = len(opened)
    assert 60 <= count < 95 and opened.numbers == list(range(count))
    end = f"It ends at {(count - 1) / 25:.1f} s, frame {count}, "
    assert opened.notes[0].startswith(end)
    assert opened.notes[0].endswith(f"header names: the {count} frames before that are read.")
    (tmp_path / "part.mp4").write_bytes(content[: len(content) // 4])
    refuse(tmp_path / "part.mp4", r"frames of \d+, and ends at .* copy or repair it", marks)


def test_a_damaged_film_says_where_and_is_used_up_to_there(streamed, tmp_path):
    content, marks = streamed
    broken, at = bytearray(content), len(content) * 7 // 10
    broken[at : at + 2000] = bytes(2000)
    (tmp_path / "broken.mp4").write_bytes(broken)
    opened = open_film(config_of(tmp_path / "broken.mp4", marks))
    count = len(opened)
    assert 60 <= count < 115 and opened.numbers == list(range(count))
    said = f"It is damaged behind {(count - 1) / 25:.1f} s, frame {count} ("
    assert opened.notes[0].startswith(said)

    broken[at // 3 : at // 3 + 2000] = bytes(2000)
    (tmp_path / "worse.mp4").write_bytes(broken)
    refuse(tmp_path / "worse.mp4", r"frames of \d+, and is damaged behind", marks)


def test_sound_alone(tmp_path):
    with av.open(str(tmp_path / "sound.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refuse(tmp_path / "sound.m4a", "has sound but no picture track")


def test_a_video_without_frames(shot, tmp_path, monkeypatch):
    (tmp_path / "none.mp4").write_bytes(b"x")
    monkeypatch.setattr(sightings, "read_frames", lambda path, start: iter(()))
    refuse(tmp_path / "none.mp4", "holds no frames", shot[1])


def test_too_few_frames(shot, tmp_path):
    frames, landmarks = film(range(LEAST_FRAMES - 1))
    path = write_film(tmp_path / "short.mp4", frames, 25)
    np.savez(tmp_path / "short.npz", landmarks=landmarks)
    refuse(path, "has only 49 usable frames of 49", tmp_path / "short.npz")


def test_the_remedy_for_a_late_cut_can_be_followed(tmp_path):
    (a, points_a), (b, points_b) = film(range(55)), film(range(10), person=15)
    path = write_film(tmp_path / "two.mp4", np.concatenate([a, b]), 25)
    np.savez(tmp_path / "two.npz", landmarks=np.concatenate([points_a, points_b]))
    refuse(path, r"has a cut at 2\.2 s: .* frames=55", tmp_path / "two.npz")
    assert len(open_film(config_of(path, tmp_path / "two.npz", frames=55))) == 55


@pytest.mark.parametrize("frames", [0, 1600])
def test_landmarks_of_another_length(shot, tmp_path, frames):
    table = np.load(shot[1])["landmarks"]
    for count, rows in ((40, table[:40]), (67, np.concatenate([table, table[:7]]))):
        np.savez(tmp_path / "other.npz", landmarks=rows)
        words = f"has landmarks for {count} frames, .* has 60"
        refuse(shot[0], words, tmp_path / "other.npz", frames=frames)


def test_a_film_cut_short_needs_no_cut_landmarks(shot):
    assert len(open_film(config_of(*shot, frames=52))) == 52


def test_rows_that_openface_calls_failed_are_dropped(shot, tmp_path):
    table = write_csv(tmp_path / "points.csv", np.load(shot[1])["landmarks"], failed=[9])
    opened = open_film(config_of(shot[0], table))
    assert len(opened) == 59 and 9 not in opened.numbers


def test_landmarks_that_are_no_pixels(shot, tmp_path):
    table = np.load(shot[1])["landmarks"]
    for shares in (table / SIZE, 0 * table):
        np.savez(tmp_path / "share.npz", landmarks=shares)
        refuse(shot[0], "they must be in pixels", tmp_path / "share.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x93NUMPY no archive"])
def test_landmark_files_that_are_broken(shot, tmp_path, content):
    (tmp_path / "broken.npz").write_bytes(content)
    refuse(shot[0], "cannot be read as landmarks", tmp_path / "broken.npz")


def test_a_film_without_times_runs_at_its_rate(shot, tmp_path):
    with av.open(str(tmp_path / "raw.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for frame in film()[0]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    opened = open_film(config_of(tmp_path / "raw.h264", shot[1]))
    assert opened.fps == 25 and opened.notes == ()


@pytest.mark.parametrize(
    "content, words",
    [
        ({"points": np.zeros((60, 68, 2))}, "cannot be read as landmarks"),
        ({"landmarks": np.zeros((60, 5, 2))}, r"landmarks of shape \(60, 5, 2\)"),
    ],
)
def test_landmark_files_of_another_kind(shot, tmp_path, content, words):
    np.savez(tmp_path / "other.npz", **content)
    refuse(shot[0], words, tmp_path / "other.npz")
    (tmp_path / "other.csv").write_text("frame,a,b\n1,2,3\n")
    refuse(shot[0], "cannot be read as landmarks", tmp_path / "other.csv")
    refuse(shot[0], "There is no landmark file", tmp_path / "missing.npz")


def test_no_face_anywhere(shot, tmp_path):
    np.savez(tmp_path / "nan.npz", landmarks=np.full((60, 68, 2), np.nan))
    words = r"has only 0 usable frames of 60, 60 with no landmarks in the file \(0\.0 to 2\.4 s\)"
    refuse(shot[0], words, tmp_path / "nan.npz")


def test_a_start_without_a_face_is_passed_over(tmp_path):
    """Also where it is longer than `frames`, and ends in what would be a cut."""
    frames, landmarks = film()
    path = write_film(tmp_path / "late.mp4", np.concatenate([0 * frames, frames]), 25)
    table = np.concatenate([np.full_like(landmarks, np.nan), landmarks])
    np.savez(tmp_path / "late.npz", landmarks=table)
    opened = open_film(config_of(path, tmp_path / "late.npz", frames=55))
    assert opened.numbers == list(range(60, 115)) and "from 2.4 s on" in opened.notes[0]
    assert opened.dropped == {"no landmarks in the file": 60}
    assert opened.images.mean() > 50, "these are the frames with the face"


def test_a_film_from_a_second_on(tmp_path):
    (a, points_a), (b, points_b) = film(range(55)), film(range(70), person=15)
    path = write_film(tmp_path / "two.mp4", np.concatenate([a, b]), 25)
    marks = tmp_path / "two.npz"
    np.savez(marks, landmarks=np.concatenate([points_a, points_b]))
    refuse(path, r"cut at 2\.2 s: .* frames=55 or what follows by start=2\.2\.", marks)
    opened = open_film(config_of(path, marks, start=2.2))
    assert opened.numbers == list(range(55, 125)) and opened.dropped == {} and not opened.notes
    assert open_film(config_of(path, marks, start=2.2, frames=60)).numbers == opened.numbers[:60]
    refuse(path, r"ends at 5\.0 s, before start=9: use a smaller number", marks, start=9)
    refuse(path, r"only 25 usable frames of 25: 50 are needed", marks, start=4)


def test_too_few_frames_say_what_was_seen_and_how_long_the_film_is(tmp_path):
    frames, landmarks = film(range(100))
    path = write_film(tmp_path / "long.mp4", frames, 25)
    landmarks[5:30] = np.nan
    landmarks[40, 0] -= 200
    np.savez(tmp_path / "long.npz", landmarks=landmarks)
    words = r"34 usable frames of 60, 25 with no landmarks in the file \(0\.2 to 1\.2 s\), "
    words += r"1 with a face cut off by the picture's edge \(at 1\.6 s\): 50 are needed; "
    words += r"frames=0 reads all of it \(4\.0 s\)\."
    refuse(path, words, tmp_path / "long.npz", frames=60)
    assert len(open_film(config_of(path, tmp_path / "long.npz"))) == 74


@pytest.mark.parametrize("frames", [0, 60])
def test_two_people_are_no_missing_face(tmp_path, monkeypatch, frames):
    """Of a long start without one face only each tenth frame is looked at."""
    looks = []
    monkeypatch.setattr(sightings, "face_finder", lambda: lambda frame: looks.append(1) or [1, 2])
    path = write_film(tmp_path / "two.mp4", film(range(100))[0], 25)
    words = r"0 usable frames of 100, 100 with several faces \(0\.0 to 4\.0 s\): .* one person"
    refuse(path, words, frames=frames)
    assert len(looks) == 55


def test_a_cut_to_another_person(tmp_path):
    (a, points_a), (b, points_b) = film(range(40)), film(range(40), person=15)
    path = write_film(tmp_path / "two.mp4", np.concatenate([a, b]), 25)
    np.savez(tmp_path / "two.npz", landmarks=np.concatenate([points_a, points_b]))
    refuse(path, r"has a cut at 1\.6 s: give one take of one person\.", tmp_path / "two.npz")
    assert not list((tmp_path / "cache").glob("*")), "nothing half-made stays"


def test_another_person_without_a_cut_that_shows(tmp_path, monkeypatch):
    pytest.importorskip("dlib")
    monkeypatch.setattr(footage, "CUT", 1.0)
    (a, points_a), (b, points_b) = film(range(60), size=128), film(range(40), person=3, size=128)
    path = write_film(tmp_path / "two.mp4", np.concatenate([a, b]), 25)
    np.savez(tmp_path / "two.npz", landmarks=np.concatenate([points_a, points_b]))
    refuse(path, r"shows another person from about 2\.4 s on: .* frames=60", tmp_path / "two.npz")
    assert len(open_film(config_of(path, tmp_path / "two.npz", frames=60))) == 60


def test_three_faces_in_a_row_must_differ():
    one, other = np.zeros(128), np.full(128, 0.06)  # .68 apart
    assert other_person([one] * 20) is None and other_person([]) is None
    single = [one] * 9 + [other] + [one] * 9
    assert other_person(single) is None, "a single odd face is no person"
    assert other_person([one] * 9 + [other] * 5 + [one] * 6) == 8


def test_a_phones_portrait_video_stands_upright(shot, tmp_path):
    """The rotation flag of a phone: the stored picture lies on its side."""
    frames, landmarks = film()
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for frame in frames:
            lying = np.ascontiguousarray(np.rot90(frame))  # a quarter turn to the left
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode())
    _turn_right(path)
    upright = next(read_frames(path))[0]
    assert np.abs(upright.astype(float) - frames[0]).mean() < 6
    np.savez(tmp_path / "phone.npz", landmarks=landmarks)
    assert len(open_film(config_of(path, tmp_path / "phone.npz"))) == 60


def _turn_right(path: Path) -> None:
    """Writes the matrix of the track header (ISO 14496-12) for a turn by 90 degrees clockwise."""
    content, one = bytearray(path.read_bytes()), 0x10000
    start = content.index(b"tkhd") + 44
    matrix = (0, one, 0, -one, 0, 0, SIZE * one, 0, 0x40000000)
    numbers = [value.to_bytes(4, "big", signed=True) for value in matrix]
    content[start : start + 36] = b"".join(numbers)
    path.write_bytes(content)


def test_an_uneven_frame_rate_is_noted(shot, tmp_path):
    frames, landmarks = film()
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = 40 * i + 100 * (i // 20), stream.time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    np.savez(tmp_path / "uneven.npz", landmarks=landmarks)
    opened = open_film(config_of(path, tmp_path / "uneven.npz"))
    assert len(opened) == 60 and opened.fps == pytest.approx(25, abs=0.5)
    assert "frame rate varies" in opened.notes[0]


def test_without_the_extra_the_sentence_names_the_remedy(shot, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    refuse(shot[0], r'need dlib and its models: run `pip install -e "\.\[video\]"`, or give a ')


def test_dlib_counts_faces_and_finds_landmarks(tmp_path):
    pytest.importorskip("dlib")
    frames, landmarks = film(range(3), size=256)
    crowd = np.concatenate([frames[:1], film(range(1), person=14, size=256)[0]], axis=2)
    blank = np.zeros_like(frames)
    for name, pictures in (("one", frames), ("two", crowd), ("none", blank)):
        write_film(tmp_path / f"{name}.mp4", pictures, 25)
    one = find_landmarks(tmp_path / "one.mp4", None, 0)
    assert len(one.points) == len(one.times) == 3 and one.dropped == {}
    error = np.linalg.norm(np.stack(one.points) - landmarks, axis=-1).mean()
    assert error < 10, "of 256 px: dlib learned on photos, not on drawings"
    assert find_landmarks(tmp_path / "two.mp4", None, 0).dropped == {"several faces": 1}
    assert find_landmarks(tmp_path / "none.mp4", None, 0).dropped == {"no face": 3}


@pytest.mark.skipif(
    "IDF_VIDEO" not in os.environ, reason="set IDF_VIDEO to a video of a person speaking"
)
def test_a_real_video():
    pytest.importorskip("dlib")
    frames = open_film(config_of(os.environ["IDF_VIDEO"], frames=60))
    assert len(frames) >= LEAST_FRAMES and frames.images.shape[1:] == (3, 64, 64)
    chin, nose = frames.landmarks[:, 8, 1], frames.landmarks[:, 30, 1]
    assert (chin > nose).all()
