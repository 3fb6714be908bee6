"""Pictures of times."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from unirun.metrics import Metrics, Times
from unirun.plots import Histogram, bounds_of, draw, told

SVG = "{http://www.w3.org/2000/svg}"
TIMES = Times(count=4, sum=0.01, max=0.004, buckets=((0.001, 1), (0.002, 0), (0.004, 3), (0.008, 0)))
METRICS = Metrics(4, 3, 1, 0, 0, 0, 2, TIMES, Times())


def test_metrics_are_drawn_as_an_svg(tmp_path: Path) -> None:
    path = tmp_path / "times.svg"
    METRICS.plot(str(path))
    root = ET.parse(path).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "4 tasks: 3 completed, 1 failed, 0 cancelled" in texts
    assert "no times" in texts  # Of what ran: nothing was told.
    tips = [tip.text for tip in root.iter(f"{SVG}title")]
    assert tips == ["1 of up to 1 ms", "3 of up to 4 ms"]


def test_empty_buckets_that_were_not_told_have_their_place() -> None:
    told_buckets = [Histogram("a", [(1.0, 2), (2.0, 0)]), Histogram("b", [(8.0, 1)])]
    assert bounds_of(told_buckets) == [1.0, 2.0, 4.0, 8.0]
    assert bounds_of([Histogram("empty", [(1.0, 0)])]) == []


def test_a_title_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "times.svg"
    draw(str(path), "<a & b>", [Histogram("x", TIMES.buckets)])
    assert "<a & b>" in [text.text for text in ET.parse(path).getroot().iter(f"{SVG}text")]


def test_another_suffix_is_told_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"times.gif': pictures are .svg, or .png"):
        METRICS.plot(str(tmp_path / "times.gif"))


def test_a_png_without_matplotlib_is_told_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="needs matplotlib: pip install matplotlib"):
        METRICS.plot(str(tmp_path / "times.png"))


class FakeFigure:
    """What `draw` asks of matplotlib's Figure."""

    def __init__(self, **_: Any) -> None:
        self.said: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        def say(*args: Any, **_: Any) -> FakeFigure:
            self.said.append((name, args))
            return self

        return say

    def savefig(self, path: str) -> None:
        Path(path).write_text(repr(self.said), encoding="utf-8")


def test_a_png_is_drawn_by_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("matplotlib.figure")
    module.Figure = FakeFigure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matplotlib", ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", module)
    path = tmp_path / "times.png"
    METRICS.plot(str(path))
    assert "('bar', (range(0, 3), [1, 0, 3]))" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("seconds", "text"), [(1e-6, "1 us"), (0.00025, "250 us"), (0.5, "500 ms"), (2.0, "2 s")])
def test_a_time_has_its_unit(seconds: float, text: str) -> None:
    assert told(seconds) == text


def test_times_have_a_mean_and_quantiles() -> None:
    assert TIMES.mean == 0.0025
    assert TIMES.quantile(0.25) == 0.001
    assert TIMES.quantile(0.5) == TIMES.quantile(1) == 0.004
    assert (Times().mean, Times().quantile(0.5)) == (0.0, 0.0)
    with pytest.raises(ValueError, match="not within 0 and 1"):
        TIMES.quantile(50)
