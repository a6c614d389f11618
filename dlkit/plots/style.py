"""What all pictures share: one palette, one way to make a figure, one way to get its bytes.

A figure is made without pyplot. Widget callbacks run on another thread than the cells, and
pyplot's global "current figure" then draws on the wrong figure or on none.

>>> figure = new_figure(6.0, 2.0, caption="an empty axis")
>>> axes = tidy(figure.add_subplot())
>>> figure
<Picture: an empty axis>
>>> png(figure)[1:4]
b'PNG'
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

# Okabe and Ito (2008), "Color Universal Design": seven colours that stay apart for people with
# any common colour vision deficiency. Yellow comes last because it is faint on white.
PALETTE: tuple[str, ...] = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # green
    "#CC79A7",  # pink
    "#56B4E9",  # sky
    "#D55E00",  # vermilion
    "#F0E442",  # yellow
)
# Lighter ones of some of these, for ten classes: neighbours among them never share a hue.
LIGHT: tuple[str, ...] = ("#8FB8D8", "#F2CE85", "#8FCDB9", "#E8C4DA")
STAGES: tuple[str, ...] = ("sample", "fetch", "collate", "transfer", "wait", "compute")
STAGE_COLOURS: dict[str, str] = dict(
    zip(STAGES, ("#CC79A7", "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73"), strict=True)
)
INK = "#222222"
MUTED = "#6B6B6B"
FAINT = "#DDDDDD"
ALERT = "#D55E00"
DPI = 100


class Picture(Figure):
    """A ``Figure`` with a caption that a notebook shows as a picture without any magic command.

    The caption is the text form of the output: tests compare it, where they cannot compare
    pixels, and screen readers read it.

    Args:
        caption: What the picture shows, with its numbers, in one sentence.
        **options: Passed to ``matplotlib.figure.Figure``.
    """

    caption: str

    def __init__(self, *, caption: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.caption = caption
        FigureCanvasAgg(self)

    def __repr__(self) -> str:
        return f"<Picture: {self.caption}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        # A bundle wins over the formatter that the inline backend registers for every Figure,
        # so the output does not depend on whether something has imported pyplot.
        picture = base64.b64encode(png(self)).decode("ascii")
        data = {"image/png": picture, "text/plain": repr(self)}
        return data, {"image/png": {"alt": self.caption}}


def new_figure(
    width: float = 8.0, height: float = 3.0, *, caption: str = "", fixed: bool = False
) -> Picture:
    """Make an empty figure that belongs to no global state.

    Args:
        width: Inches.
        height: Inches.
        caption: What the picture shows, in one sentence; may be set later.
        fixed: The caller places the axes itself. Otherwise matplotlib's constrained layout does,
            which draws everything twice: too slow for a picture that follows a slider.

    Returns:
        A figure with an Agg canvas.

    Raises:
        ValueError: If a side is not positive.

    >>> new_figure(8, 3).get_size_inches().tolist()
    [8.0, 3.0]
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"width and height must be positive inches, got {width!r}, {height!r}")
    return Picture(
        caption=caption,
        figsize=(width, height),
        dpi=DPI,
        layout=None if fixed else "constrained",
        facecolor="white",
    )


def tidy(
    axes: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "", grid: str = ""
) -> Axes:
    """Give an axis the shared look: no box, quiet ticks, a title that states the finding.

    Args:
        axes: The axis to change.
        title: Left-aligned title.
        xlabel: Label with its unit.
        ylabel: Label with its unit.
        grid: ``"x"``, ``"y"``, ``"both"`` or ``""`` for none.

    Returns:
        The same axis.

    Raises:
        ValueError: If ``grid`` is none of these.

    >>> tidy(new_figure().add_subplot(), xlabel="seconds").get_xlabel()
    'seconds'
    """
    if grid not in ("", "x", "y", "both"):
        raise ValueError(f"grid must be 'x', 'y', 'both' or '', got {grid!r}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9)
    if title:
        axes.set_title(title, loc="left", fontsize=11, color=INK)
    if xlabel:
        axes.set_xlabel(xlabel, fontsize=10, color=INK)
    if ylabel:
        axes.set_ylabel(ylabel, fontsize=10, color=INK)
    if grid:
        axes.grid(visible=True, axis=grid, color=FAINT, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    return axes


def colour(position: int) -> str:
    """Return the palette's colour for a running number, starting over after seven.

    Args:
        position: Any integer.

    Returns:
        A hex colour.

    >>> colour(0) == colour(7) == PALETTE[0]
    True
    """
    return PALETTE[position % len(PALETTE)]


def readable_on(background: str) -> str:
    """Return the text colour, white or ink, that stands out more on a background.

    Args:
        background: Any matplotlib colour.

    Returns:
        ``"white"`` or ``INK``.

    >>> readable_on("#0072B2"), readable_on("#F0E442") == INK
    ('white', True)
    """
    red, green, blue = to_rgb(background)
    # Relative luminance as in WCAG, with gamma 2.2; at 0.3 both choices are about equal.
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "white" if luminance < 0.3 else INK


def png(figure: Figure) -> bytes:
    """Render a figure to PNG bytes.

    Args:
        figure: Any figure; its canvas is replaced by Agg when it has another.

    Returns:
        The bytes of the PNG file.

    >>> len(png(new_figure(1, 1))) > 100
    True
    """
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # No "Software" entry: it would change the bytes with every version of matplotlib.
    figure.savefig(buffer, format="png", dpi=figure.dpi, metadata={"Software": None})
    return buffer.getvalue()


def as_image(picture: Picture) -> str:
    """Return an HTML image that holds a picture's bytes and says its caption.

    Args:
        picture: Any picture.

    Returns:
        An `img` element; the caption is escaped.

    >>> as_image(new_figure(1, 1, caption="a < b"))[-12:]
    'a &lt; b" />'
    """
    data = base64.b64encode(png(picture)).decode("ascii")
    text = html.escape(picture.caption, quote=True)
    return f'<img src="data:image/png;base64,{data}" alt="{text}" />'
