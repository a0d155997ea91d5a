"""Landmarks as a map z, found on a small picture, and compared."""

import numpy as np
import pytest
import torch

from idf.data.drawn.film import talking_face
from idf.data.landmarks import LINES, draw_landmarks, expression_error, find_on

POINTS = talking_face(12, [0], 64).landmarks


def spread_points():
    """Landmarks far apart, so that each line can be seen alone."""
    return torch.full((1, 68, 2), -1000.0)


def straight_brow(left, right, y):
    points = spread_points()
    points[0, 17] = torch.tensor([left, y])
    points[0, 18:22] = torch.tensor([right, y])
    return points


def test_the_lines_are_those_of_the_68_points():
    joined = [i for line, _ in LINES for i in line]
    assert sorted(set(joined)) == list(range(68))
    assert [closed for _, closed in LINES] == [False] * 4 + [True] * 5


@pytest.mark.parametrize("thickness", [3, 1])
def test_a_line_is_white_and_of_its_thickness(thickness):
    z = draw_landmarks(straight_brow(10.0, 50.0, 20.0), 64, thickness)
    assert z.shape == (1, 3, 64, 64) and z.min() == -1 and z.max() == 1
    assert ((z[0, 0, :, 30] + 1) / 2).sum() == pytest.approx(thickness, abs=1e-4), "across the line"
    assert (z[0, 0, 20, 10:51] == 1).all()
    assert (z[0, 0, 20, 54:] == -1).all() and (z[0, 0, 25:] == -1).all()
    assert torch.equal(z[0, 0], z[0, 1]) and torch.equal(z[0, 0], z[0, 2])


@pytest.mark.parametrize("size, pixels", [(256, 3.0), (128, 1.5), (64, 1.0)])
def test_three_pixels_at_full_size_and_less_below(size, pixels):
    z = draw_landmarks(straight_brow(5.0, 25.0, 20.0), size)
    assert ((z[0, 0, :, 15] + 1) / 2).sum().item() == pytest.approx(pixels, abs=1e-3)


@pytest.mark.parametrize(
    "line, closes", [(range(17, 22), False), (range(36, 42), True), (range(60, 68), True)]
)
def test_open_and_closed_lines(line, closes):
    """A wide arc whose ends lie 40 pixels apart on the bottom line."""
    points = spread_points()
    points[0, line, 0] = torch.linspace(12.0, 52.0, len(line))
    points[0, line, 1] = 20.0
    points[0, [line[0], line[-1]], 1] = 50.0
    z = draw_landmarks(points, 64)
    assert (z[0, 0, 50, 32].item() == 1) == closes, "the line from the last point back to the first"


def test_a_point_that_moves_by_a_fraction_moves_the_picture():
    moved = POINTS.clone()
    moved[:, 57, 1] += 0.2
    assert (draw_landmarks(moved, 64) - draw_landmarks(POINTS, 64)).abs().max() > 0.05


def test_points_are_in_the_pixels_of_the_small_picture():
    points = talking_face(12, [0], 32).landmarks[0].numpy()
    shown = []

    def find(faces):
        def finder(picture):
            shown.append(picture)
            return faces

        return finder

    x = torch.zeros(3, 32, 32)
    assert find_on(find([(points + 0.5) * 8]), x) == pytest.approx(points, abs=1e-4)
    assert find_on(find([]), x) is None and find_on(find([points, points]), x) is None
    assert {picture.shape for picture in shown} == {(256, 256, 3)}
    assert {picture.dtype for picture in shown} == {np.dtype(np.uint8)}


def test_a_face_that_moves_as_a_whole_has_the_same_expression():
    true = POINTS[0].numpy()
    assert expression_error(true + [3, -2], true) == pytest.approx(0, abs=1e-6)
    chin = true.copy()
    chin[8] += 5
    assert expression_error(chin, true) == 0
    smile = true.copy()
    smile[48] += [0, -3]
    assert 0 < expression_error(smile, true) == pytest.approx(expression_error(8 * smile, 8 * true))
