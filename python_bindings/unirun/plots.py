"""Draws histograms of times: an SVG by ourselves, a PNG by matplotlib where it is installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 180, 60, 40, 36
COLORS = ("#4878a8", "#d08040", "#60a060", "#a06090")


class Histogram(NamedTuple):
    """How many times fell into each bucket: upper bound in seconds, number."""

    title: str
    buckets: Sequence[tuple[float, int]]


def draw(path: str, title: str, histograms: Sequence[Histogram]) -> None:
    """Write ``path``, an ``.svg`` or a ``.png``. All histograms share the axis of times.

    Raises `ValueError` for another suffix, `ImportError` for a PNG without matplotlib, `OSError`.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    shown = [Histogram(each.title, tuple(each.buckets)) for each in histograms]
    if suffix == ".svg":
        with open(path, "w", encoding="utf-8") as file:
            file.write(svg(title, shown))
    elif suffix == ".png":
        _draw_png(path, title, shown)
    else:
        raise ValueError(f"{os.fspath(path)!r}: pictures are .svg, or .png where matplotlib is installed")


def bounds_of(histograms: Sequence[Histogram]) -> list[float]:
    """The upper bounds from the first bucket that holds something to the last, of all histograms; none is left out."""
    filled = sorted({bound for each in histograms for bound, number in each.buckets if number})
    bounds: list[float] = []
    for bound in filled:
        while bounds and bounds[-1] * 2 < bound * 0.99:  # Buckets double; empty ones may not have been told.
            bounds.append(bounds[-1] * 2)
        bounds.append(bound)
    return bounds


def svg(title: str, histograms: Sequence[Histogram]) -> str:
    bounds = bounds_of(histograms)
    height = TOP + len(histograms) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(WIDTH / 2, 22, title, size=14),
    ]
    for index, histogram in enumerate(histograms):
        parts += _panel(histogram, bounds, TOP + index * HEIGHT, COLORS[index % len(COLORS)])
    return "\n".join([*parts, "</svg>", ""])


def _panel(histogram: Histogram, bounds: Sequence[float], top: float, color: str) -> list[str]:
    numbers = dict(histogram.buckets)
    most = max((numbers.get(bound, 0) for bound in bounds), default=0)
    floor = top + HEIGHT - BOTTOM
    parts = [
        f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - 10}" y2="{floor}" stroke="black"/>',
        _text(LEFT + 4, top + 12, histogram.title, anchor="start"),
    ]
    if not most:
        return [*parts, _text(WIDTH / 2, top + HEIGHT / 2, "no times")]
    parts.append(_text(LEFT - 6, top + 12, str(most), anchor="end"))
    step = (WIDTH - 10 - LEFT) / len(bounds)
    for place, bound in enumerate(bounds):
        x, number = LEFT + place * step, numbers.get(bound, 0)
        tall = (HEIGHT - BOTTOM - 16) * number / most
        if number:
            bar = f'x="{x + 1:.1f}" y="{floor - tall:.1f}" width="{max(step - 2, 1):.1f}" height="{tall:.1f}"'
            parts.append(f'<rect {bar} fill="{color}"><title>{number} of up to {told(bound)}</title></rect>')
        if place % (len(bounds) // 12 + 1) == 0:
            parts.append(_text(x + step / 2, floor + 14, told(bound), size=10))
    return parts


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'


def told(seconds: float) -> str:
    """A time with its unit: ``250 us``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"


def _draw_png(path: str, title: str, histograms: Sequence[Histogram]) -> None:
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("a .png needs matplotlib: pip install matplotlib; an .svg needs nothing") from None
    bounds = bounds_of(histograms)
    figure = Figure(figsize=(8, 1 + 2.5 * len(histograms)), layout="tight")
    for index, (name, buckets) in enumerate(histograms):
        axes = figure.add_subplot(len(histograms), 1, index + 1)
        numbers = dict(buckets)
        axes.bar(range(len(bounds)), [numbers.get(bound, 0) for bound in bounds], color=COLORS[index % len(COLORS)])
        axes.set_xticks(range(len(bounds)), [told(bound) for bound in bounds], rotation=45, fontsize=7)
        axes.set_title(name)
    figure.suptitle(title)
    figure.savefig(path)
