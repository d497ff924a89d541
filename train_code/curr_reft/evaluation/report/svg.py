"""Matplotlib figures as SVG that stands inside the page and follows its colour scheme.

Text stays text. The colours drawn with are stand-ins, whose place the page's own (``--ink``, ``--series-1``)
take.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from curr_reft.files.text import visible

INK, FAINT, LINE = "#010203", "#010204", "#010205"
SERIES = ("#010206", "#010207", "#010208")
_OF_THE_PAGE = {INK: "var(--ink)", FAINT: "var(--faint)", LINE: "var(--line)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "curr_reft",
    # Names are anybody's text, and a dollar in one is a dollar.
    "text.parse_math": False,
}
_PANEL_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "grid.color": LINE,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), FAINT),
}
_LEFT_OUT = ("metadata", "style")
_REFERENCE = re.compile(r"url\(#")


@dataclass(frozen=True)
class Chart:
    """A chart, and what it shows in words for those who do not see it."""

    svg: Markup
    alt: str


@contextmanager
def drawing() -> Iterator[None]:
    """The settings that every figure is drawn and saved under."""
    with matplotlib.rc_context(_STYLE):
        yield


@contextmanager
def panel(title: str, height: float, width: float = 4.2) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one pair of axes, `width` and `height` in inches, to be drawn in the block."""
    with matplotlib.rc_context(_STYLE | _PANEL_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(visible(title))
        yield figure, axes


def to_chart(figure: Figure, alt: str) -> Chart:
    """The figure as an ``<svg>`` element, whose ids are no other chart's."""
    file = io.BytesIO()
    with drawing():
        figure.savefig(file, format="svg", metadata={"Date": None})
    prefix = f"c{hashlib.sha256(file.getvalue()).hexdigest()[:10]}-"
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        for child in list(parent):
            if child.tag.rpartition("}")[2] in _LEFT_OUT:
                parent.remove(child)
        parent.attrib = {
            name.rpartition("}")[2]: _for_page(name.rpartition("}")[2], value, prefix)
            for name, value in parent.attrib.items()
        }
    root.attrib = {"class": "chart", "viewBox": root.attrib["viewBox"], "aria-hidden": "true"}
    return Chart(Markup(ElementTree.tostring(root, encoding="unicode")), alt)


def _for_page(name: str, value: str, prefix: str) -> str:
    """An attribute's value with ids made the chart's own and colours the page's."""
    if name == "id":
        return prefix + value
    if name == "href":
        return f"#{prefix}{value[1:]}"
    for stand_in, colour in _OF_THE_PAGE.items():
        value = value.replace(stand_in, colour)
    return _REFERENCE.sub(f"url(#{prefix}", value)
