"""Figures: well-formed, true to scale, nothing that a content policy refuses, hostile words shown as text."""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from spawner.console.plots import Line, Plotter, Series, Unit
from spawner.console.rendering import Reader

NOW = datetime(2027, 3, 28, 12, tzinfo=UTC)
HOUR_MS = 3_600_000
HOSTILE = "<script>alert('x')</script>\"&\u202e🙂"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8)


def plotter(zone: str = "UTC", language: str = "en") -> Plotter:
    return Plotter(Reader(language, zoneinfo.ZoneInfo(zone), known_zone=True), lambda text: text)


def parse(figure: Markup) -> ET.Element:
    assert "style=" not in figure
    assert "<script" not in figure
    return ET.fromstring(figure)


def texts(root: ET.Element, css: str) -> list[str]:
    return [one.text or "" for one in root.iter() if one.get("class") == css]


def number(text: str | None) -> float:
    assert text is not None
    return float(text.rstrip("%"))


def test_bars_stand_on_each_other() -> None:
    figure = plotter().bars(
        "GPU-hours a day",
        ["Mon", "Tue"],
        [Series("used", [6 * HOUR_MS, 0]), Series("idle", [2 * HOUR_MS, 4 * HOUR_MS], "idle")],
        "gpu_hours",
    )
    root = parse(figure)
    area = next(root.iter("svg"))
    assert area.get("aria-label") == "GPU-hours a day. used: 6; idle: 6"
    used, idle, alone = [one for one in area.iter("rect") if one.get("class") != "bar-room"]
    assert number(used.get("y")) == pytest.approx(number(idle.get("y")) + number(idle.get("height")))
    assert number(used.get("height")) == pytest.approx(3 * number(idle.get("height")), abs=0.01)
    assert number(alone.get("height")) == pytest.approx(2 * number(idle.get("height")), abs=0.01)
    assert number(idle.get("y")) == pytest.approx(6)  # eight is a round number, and the top
    assert [[cell.text for cell in row] for row in root.iter("tr")] == [
        [None, "used", "idle"],
        ["Mon", "6", "2"],
        ["Tue", "0", "4"],
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(TEXT, st.floats(0, 1e15), st.floats(0, 1e15)), max_size=16),
    st.sampled_from(["gpu_hours", "ratio", "bytes", "number"]),
)
def test_whatever_bars_show(bars: list[tuple[str, float, float]], unit: Unit) -> None:
    labels, one, other = [list(column) for column in zip(*bars, strict=True)] if bars else ([], [], [])
    root = parse(plotter().bars(HOSTILE, labels, [Series(HOSTILE, one), Series("b", other, "idle")], unit))
    for rect in root.iter("rect"):
        assert number(rect.get("y")) >= 6 - 0.01
        assert number(rect.get("y")) + number(rect.get("height")) <= 88 + 0.01
        assert 0 <= number(rect.get("x")) <= 100
    assert len(list(root.iter("tr"))) == len(bars) + 1
    assert len(texts(root, "tick")) <= 15


def test_lines_have_gaps_where_nobody_knows() -> None:
    points = [(NOW + timedelta(minutes=minute), value) for minute, value in [(0, 0.0), (5, 0.5), (10, None), (15, 1.0)]]
    root = parse(plotter().lines("Use", [Line("GPU 0", points)], NOW, NOW + timedelta(minutes=15)))
    [path] = root.iter("path")
    assert path.get("d") == "M0 1000L333.333 500M1000 0"
    assert [text for text in texts(root, "tick") if ":" in text] == ["12:00", "12:05", "12:10", "12:15"]
    assert "–" in [cell.text for cell in root.iter("td")]


def test_times_are_the_readers_also_when_clocks_change() -> None:
    """The 28th of March 2027 has 23 hours in Berlin: its steps stay at round times."""
    start = datetime(2027, 3, 27, 23, tzinfo=UTC)
    line = Line("x", [(start, 0.1), (start + timedelta(hours=23), 0.2)])
    root = parse(plotter("Europe/Berlin", "de").lines("Use", [line], start, start + timedelta(hours=23), "ratio"))
    written = [one for one in root.iter("text") if one.get("y") == "100%"]
    assert [one.text for one in written] == ["28. März", "06:00", "12:00", "18:00", "29. März"]
    assert number(written[1].get("x")) == pytest.approx(100 * 5 / 23, abs=0.01)


def test_an_axis_of_little_tells_its_values_apart() -> None:
    drawn = plotter("UTC", "en").bars("Use", ["1 Mar"], [Series("used", [36_000], "used")], "gpu_hours")
    labels = re.findall(r">([0-9.]+)</text>", drawn)
    assert len(set(labels)) == len(labels) > 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**15), min_size=24, max_size=24), min_size=7, max_size=7))
def test_heat_maps_are_tables(values: list[list[int]]) -> None:
    root = parse(plotter().heat("Week", list("abcdefg"), [str(hour) for hour in range(24)], values))
    rows = list(root.iter("tr"))
    assert len(rows) == 8
    highest = max(max(row) for row in values)
    for row, line in zip(values, rows[1:], strict=True):
        for value, cell in zip(row, line.findall("td"), strict=True):
            level = int((cell.get("class") or "")[1:])
            assert (level == 0) == (value == 0)
            assert value != highest or highest == 0 or level == 6


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (3 << 30, "bytes", "3 GiB"),
        (90 * 60_000, "gpu_hours", "1.5"),
        (0.25, "ratio", "25 %"),
        (1234, "number", "1,234"),
    ],
)
def test_units(value: float, unit: str, written: str) -> None:
    root = parse(plotter().bars("x", ["a"], [Series("s", [value])], unit))  # type: ignore[arg-type]
    assert [cell.text for cell in root.iter("td") if cell.text] == [written]


def test_what_others_have_named_stays_text() -> None:
    made = plotter()
    figures = [
        made.bars(HOSTILE, [HOSTILE], [Series(HOSTILE, [1])], said=HOSTILE),
        made.lines(HOSTILE, [Line(HOSTILE, [(NOW, 1.0)])], NOW, NOW + timedelta(hours=1)),
        made.heat(HOSTILE, [HOSTILE], [HOSTILE], [[1.0]], corner=HOSTILE),
        made.bar([(1, "used")], 2, HOSTILE),
        made.spark([(NOW, 0.5)], NOW, NOW + timedelta(hours=1), HOSTILE),
    ]
    for figure in figures:
        assert "alert(&#39;x&#39;)" in figure
        assert not re.search(r"<script", figure)
        parse(figure)
