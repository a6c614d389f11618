import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from dlkit.plots import sharding, shuffling, style


def simulate_deuteranopia(rgb):
    """Linear RGB as seen without green cones (Viénot, Brettel and Mollon, 1999)."""
    linear = np.asarray(rgb) ** 2.2
    matrix = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    return np.clip(matrix @ linear, 0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("colours", [sharding.CLASSES, shuffling.CLASSES], ids=["map", "stack"])
def test_ten_classes_have_ten_colours(colours):
    assert len(set(colours[:10])) == 10


@pytest.mark.parametrize("see", [np.asarray, simulate_deuteranopia], ids=["normal", "no green"])
def test_neighbours_in_the_palette_stay_apart_for_all_eyes(see):
    seen = [see(to_rgb(shade)) for shade in style.PALETTE]
    gaps = [np.linalg.norm(a - b) for a, b in zip(seen, [*seen[1:], seen[0]], strict=True)]
    assert min(gaps) > 0.2


def test_a_picture_shows_itself_as_png_with_its_caption_as_text():
    figure = style.new_figure(2, 1, caption="3 bars")
    data, metadata = figure._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert data["text/plain"] == "<Picture: 3 bars>"
    assert metadata["image/png"]["alt"] == "3 bars"


def test_the_same_figure_gives_the_same_bytes_twice():
    def draw():
        figure = style.new_figure(2, 1)
        style.tidy(figure.add_subplot(), title="t", grid="y").plot([1, 2])
        return style.png(figure)

    assert draw() == draw()


def test_png_accepts_a_plain_figure():
    assert style.png(Figure(figsize=(1, 1)))[:8] == b"\x89PNG\r\n\x1a\n"


def test_plots_never_import_pyplot():
    code = (
        "import sys, dlkit.plots.pipeline, dlkit.plots.batching, dlkit.plots.shuffling;"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("size", [(0, 1), (1, -2)])
def test_a_figure_without_area_is_refused(size):
    with pytest.raises(ValueError, match="positive inches"):
        style.new_figure(*size)


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="grid must be"):
        style.tidy(style.new_figure().add_subplot(), grid="z")
