"""Images are small but keep the colors of lines."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from taskclust.drawing import in_space, png


def drawn(figure):
    return Image.open(io.BytesIO(png(figure)))


def test_a_picture_has_few_colors_and_its_figures_size():
    figure = Figure(figsize=(4, 3))
    figure.subplots().imshow(np.random.default_rng(0).random((40, 40, 3)))

    picture = drawn(figure)

    assert picture.size == (360, 270)
    assert len(picture.convert("RGB").getcolors(maxcolors=100_000)) <= 256


def test_dollar_signs_are_drawn_as_they_are():
    """As a formula this text would be an error."""
    figure = Figure()
    figure.subplots().set_title(r"price in $\frac$")

    assert png(figure)


def test_colors_of_lines_are_kept():
    figure = Figure(figsize=(4, 3))
    axis = figure.subplots()
    for level, color in enumerate(("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")):
        axis.axhline(level, color=color, linewidth=6)

    pixels = np.asarray(drawn(figure).convert("RGB")).reshape(-1, 3).astype(int)

    for color in ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)):
        assert np.abs(pixels - color).sum(axis=1).min() <= 6


def test_one_figure_gives_the_same_bytes_twice():
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2, 3])

    assert png(figure) == png(figure)


@pytest.mark.parametrize("components", [1, 2, 3, 5])
def test_points_of_any_dimension_have_three_coordinates(components):
    points = np.arange(4.0 * components).reshape(2, 2, components)

    shown = in_space(points)

    kept = min(components, 3)
    assert shown.shape == (2, 2, 3)
    assert np.array_equal(shown[..., :kept], points[..., :kept])
    assert not shown[..., kept:].any()
