import struct
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from dlkit.plots.pipeline import PIPELINE, pipeline
from dlkit.plots.style import STAGES, png

COMMITTED = Path(__file__).parents[1] / "notebooks" / "images" / "pipeline.png"


def test_the_picture_names_the_six_stages_in_the_order_of_a_batch():
    assert tuple(stage.name for stage in PIPELINE) == STAGES
    texts = [text.get_text() for text in pipeline().axes[0].texts]
    assert [text for text in texts if text in STAGES] == list(STAGES)


def test_no_text_leaves_the_picture():
    figure = pipeline()
    png(figure)
    canvas = figure.bbox
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert canvas.x0 <= box.x0, text
        assert box.x1 <= canvas.x1, text
        assert canvas.y0 <= box.y0, text
        assert box.y1 <= canvas.y1, text


def test_the_committed_picture_is_the_one_that_the_code_draws(tmp_path):
    drawn = png(pipeline())
    committed = COMMITTED.read_bytes()
    size = slice(16, 24)  # width and height in a PNG's header
    assert struct.unpack(">II", committed[size]) == struct.unpack(">II", drawn[size])
    (tmp_path / "drawn.png").write_bytes(drawn)
    gap = np.abs(imread(COMMITTED) - imread(tmp_path / "drawn.png"))
    assert gap.mean() < 0.01  # another version of a font renderer, not another picture
