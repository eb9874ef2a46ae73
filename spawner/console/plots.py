"""Plots for pages: made here, without a script, as figures that say what they show to whoever cannot see them, too.

A page makes a `Plotter` for its reader, and gives its template the figures::

    plot = Plotter(reader_of(request), here.pages.gettext(request))
    figure = plot.bars(_("GPU-hours a day"), days, [Series(_("used"), used, "used"), Series(_("idle"), idle, "idle")],
                       "gpu_hours")

The template has ``{{ figure }}`` and, in its block ``styles``, ``plots.css``. Coordinates are in per cent, so that a
figure fits any width and its letters keep their size; colours are classes, so that they follow light and dark.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from babel import numbers
from markupsafe import Markup

from .languages import dated
from .rendering import Reader

Unit = Literal["gpu_hours", "ratio", "bytes", "number"]
"""What values are in: GPU-milliseconds (shown as GPU-hours), 0 to 1 (shown in per cent), bytes, or plain numbers."""
Colour = Literal["used", "idle", "one", "two", "three", "four", "five", "six"]
COLOURS: tuple[Colour, ...] = ("one", "two", "three", "four", "five", "six")

_HOUR_MS = 3_600_000.0
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_LEVELS = 6  # of a heat map's cells, above nothing
_TOP, _FLOOR = 6.0, 88.0  # per cent of a figure's height: the highest grid line, and the axis
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = [_MINUTE * n for n in (1, 2, 5, 10, 15, 30)] + [_HOUR * n for n in (1, 2, 3, 6, 12)]
_STEPS += [_DAY * n for n in (1, 2, 7, 14, 28, 91, 182, 364)]


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind, one per bar."""

    name: str
    values: Sequence[float]
    colour: Colour = "used"


@dataclass(frozen=True, slots=True)
class Line:
    """Values over time; None where nobody knows, which leaves a gap."""

    name: str
    points: Sequence[tuple[datetime, float | None]]
    colour: Colour = "one"


class Plotter:
    """Draws for one reader.

    Parameters
    ----------
    reader
        Whose language writes numbers, and whose zone times.
    gettext
        Translates into that language.
    """

    def __init__(self, reader: Reader, gettext: Callable[[str], str]) -> None:
        self._reader, self._ = reader, gettext

    def bars(
        self, title: str, labels: Sequence[str], series: Sequence[Series], unit: Unit = "number", said: str = ""
    ) -> Markup:
        """Draw upright bars, several series one on the other.

        Parameters
        ----------
        labels
            What each bar is of, such as a day; of many, only some are written out.
        said
            What is to be seen in it, in a sentence, for who cannot see it; the sums, if empty.
        """
        heights = [sum(one.values[place] for one in series) for place in range(len(labels))]
        scale = _scale(max(heights, default=0.0), unit)
        step = 100 / max(1, len(labels))
        parts = [_grid(scale)]
        for place, label in enumerate(labels):
            floor = 0.0
            told = [label, *(f"{one.name}: {self._write(one.values[place], unit)}" for one in series)]
            parts.append(Markup("<g><title>{}</title>").format("\n".join(told)))
            # All of its height shows the title, however low the bar is.
            parts.append(_rect("bar-room", place * step, step, _TOP, _FLOOR - _TOP))
            for one in series:
                height = (_FLOOR - _TOP) * one.values[place] / scale[-1]
                if height > 0:
                    parts.append(_rect(one.colour, (place + 0.12) * step, 0.76 * step, _FLOOR - floor - height, height))
                    floor += height
            parts.append(Markup("</g>"))
        parts.append(self._ticks(scale, unit))
        parts += _bottom([((place + 0.5) * step, labels[place]) for place in _some(len(labels), 5)])
        rows = [(label, [one.values[place] for one in series]) for place, label in enumerate(labels)]
        summary = said or "; ".join(f"{one.name}: {self._write(sum(one.values), unit)}" for one in series)
        table = self._table([one.name for one in series], rows, unit)
        return self._figure(title, summary, parts, [(one.name, one.colour) for one in series], table)

    def bar(self, values: Sequence[tuple[float, Colour]], whole: float, said: str) -> Markup:
        """Draw one lying bar, for a table's cell; `said` is what it shows, in words."""
        parts, begin = [], 0.0
        for value, colour in values:
            width = 100 * min(max(value / whole, 0.0), 1.0) if whole > 0 else 0.0
            parts.append(_rect(colour, begin, width, 0, 100))
            begin += width
        return Markup('<svg class="plot-bar" role="img" aria-label="{}">{}</svg>').format(said, Markup("").join(parts))

    def lines(
        self,
        title: str,
        lines: Sequence[Line],
        start: datetime,
        end: datetime,
        unit: Unit = "ratio",
        *,
        top: float | None = None,
        said: str = "",
    ) -> Markup:
        """Draw lines over time, from `start` to `end`.

        Parameters
        ----------
        top
            Value at the upper edge; 1 for ratios, else what the values take.
        said
            As in `bars`; the last values, if empty.
        """
        highest = max((value for line in lines for _, value in line.points if value is not None), default=0.0)
        ceiling = top if top is not None else 1.0 if unit == "ratio" else highest
        scale = _scale(max(ceiling, highest), unit)
        span = max((end - start).total_seconds(), 1e-3)
        paths = [
            Markup('<path class="{}" d="{}"><title>{}</title></path>').format(
                line.colour, _path(line.points, start, span, scale[-1]), line.name
            )
            for line in lines
        ]
        inner = Markup(
            '<svg class="lines" x="0" y="{}%" width="100%" height="{}%" viewBox="0 0 1000 1000"'
            ' preserveAspectRatio="none" overflow="visible">{}</svg>'
        ).format(_number(_TOP), _number(_FLOOR - _TOP), Markup("").join(paths))
        parts = [_grid(scale), inner, self._ticks(scale, unit), *_bottom(list(self._hours(start, end, span)))]
        moments = sorted({when for line in lines for when, _ in line.points})
        values = [dict(line.points) for line in lines]
        shown = [moments[place] for place in _some(len(moments), 60)]
        rows = [(self._moment(when, span), [known.get(when) for known in values]) for when in shown]
        last = [next((value for _, value in reversed(line.points) if value is not None), None) for line in lines]
        ends = "; ".join(f"{line.name}: {self._write(value, unit)}" for line, value in zip(lines, last, strict=True))
        table = self._table([line.name for line in lines], rows, unit)
        return self._figure(title, said or ends, parts, [(line.name, line.colour) for line in lines], table)

    def spark(
        self, points: Sequence[tuple[datetime, float | None]], start: datetime, end: datetime, said: str
    ) -> Markup:
        """Draw a small line of ratios without axes, for a card or a table's cell."""
        path = _path(points, start, max((end - start).total_seconds(), 1e-3), 1.0)
        return Markup(
            '<svg class="plot-spark" role="img" aria-label="{}" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
            '<path class="one" d="{}"/></svg>'
        ).format(said, path)

    def heat(
        self,
        title: str,
        rows: Sequence[str],
        columns: Sequence[str],
        values: Sequence[Sequence[float]],
        unit: Unit = "gpu_hours",
        corner: str = "",
    ) -> Markup:
        """Draw a heat map as a table with shaded cells; `values` has a sequence per row.

        Parameters
        ----------
        corner
            What rows and columns are of, such as "Day, hour".
        """
        highest = max((value for row in values for value in row), default=0.0)
        lines = []
        for name, row in zip(rows, values, strict=True):
            cells = [
                Markup('<td class="h{}" title="{}, {}: {}"><span>{}</span></td>').format(
                    min(_LEVELS, max(1, math.ceil(_LEVELS * value / highest))) if value > 0 else 0,
                    name,
                    column,
                    self._write(value, unit),
                    self._short(value, unit),
                )
                for column, value in zip(columns, row, strict=True)
            ]
            lines.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(name, Markup("").join(cells)))
        head = [Markup('<th scope="col"><span>{}</span></th>').format(column) for column in columns]
        steps = [
            Markup('<li class="h{}">{}</li>').format(level, self._write(highest * level / _LEVELS, unit))
            for level in range(_LEVELS + 1)
        ]
        return Markup(
            '<figure class="plot"><div class="table-wrap"><table class="heat"><caption>{}</caption>'
            '<thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table></div>'
            '<ul class="heat-steps" aria-hidden="true">{}</ul></figure>'
        ).format(
            title,
            corner,
            Markup("").join(head),
            Markup("").join(lines),
            Markup("").join(steps) if highest > 0 else "",
        )

    def times(self, start: datetime, end: datetime) -> list[tuple[float, str]]:
        """Give round times from `start` to `end` for an axis: where each stands, in per cent, and its words."""
        return list(self._hours(start, end, max((end - start).total_seconds(), 1e-3)))

    # --- parts ------------------------------------------------------------------------------------------------

    def _figure(
        self,
        title: str,
        said: str,
        parts: Sequence[Markup],
        legend: Sequence[tuple[str, str]],
        table: Markup,
    ) -> Markup:
        keys = [Markup('<li><i class="key {}"></i>{}</li>').format(colour, name) for name, colour in legend]
        return Markup(
            '<figure class="plot"><figcaption><span class="plot-title">{title}</span>'
            '<ul class="legend">{keys}</ul></figcaption>'
            '<svg class="plot-area" role="img" aria-label="{label}">{parts}</svg>'
            "<details><summary>{summary}</summary>{table}</details></figure>"
        ).format(
            title=title,
            keys=Markup("").join(keys),
            label=f"{title}. {said}" if said else title,
            parts=Markup("").join(parts),
            summary=self._("As a table"),
            table=table,
        )

    def _table(self, names: Sequence[str], rows: Sequence[tuple[str, Sequence[float | None]]], unit: Unit) -> Markup:
        head = Markup("").join(Markup('<th scope="col" class="number">{}</th>').format(name) for name in names)
        lines = []
        for label, values in rows:
            cells = [Markup('<td class="number">{}</td>').format(self._write(value, unit)) for value in values]
            lines.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(label, Markup("").join(cells)))
        return Markup(
            '<div class="table-wrap"><table><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table></div>'
        ).format(head, Markup("").join(lines))

    def _ticks(self, scale: Sequence[float], unit: Unit) -> Markup:
        """Write the grid lines' values on them, over what is drawn: a margin would take room from a phone."""
        return Markup("").join(
            Markup('<text class="tick" x="2" y="{}%" dy="-3">{}</text>').format(
                _number(_height(value, scale)), self._write(value, unit)
            )
            for value in scale[1:]
        )

    def _hours(self, start: datetime, end: datetime, span: float) -> Iterator[tuple[float, str]]:
        """Give the times that are written under an axis: round ones in the reader's zone."""
        step = next((one for one in _STEPS if span / one <= 6), _STEPS[-1])
        first, zone = start.astimezone(self._reader.zone), self._reader.zone
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        at = midnight
        while at <= end:
            if at >= start:
                yield 100 * (at - start).total_seconds() / span, self._axis_time(at, step)
            # Wall-clock steps: 6:00, 12:00, 18:00 also on a day that has 23 hours.
            at = (at.replace(tzinfo=None) + timedelta(seconds=step)).replace(tzinfo=zone)

    def _axis_time(self, at: datetime, step: int) -> str:
        form = "d MMM" if step >= _DAY or (at.hour, at.minute) == (0, 0) else "HH:mm"
        return dated(at, form, self._reader.language)

    def _moment(self, when: datetime, span: float) -> str:
        form = "HH:mm:ss" if span <= _HOUR else "d MMM, HH:mm"
        return dated(when.astimezone(self._reader.zone), form, self._reader.language)

    def _write(self, value: float | None, unit: Unit) -> str:
        if value is None:
            return "–"
        language = self._reader.language
        if unit == "ratio":
            return str(numbers.format_percent(value, "#,##0 %", locale=language))
        if unit == "bytes":
            place = _place(value)
            return f"{numbers.format_decimal(value / 1024**place, '#,##0.#', locale=language)} {_BINARY[place]}"
        if unit == "gpu_hours":
            value /= _HOUR_MS
        return str(numbers.format_decimal(value, _form(value), locale=language))

    def _short(self, value: float, unit: Unit) -> str:
        """Write it for a narrow cell."""
        if unit == "gpu_hours":
            value /= _HOUR_MS
        if unit in {"gpu_hours", "number"}:
            form = "#,##0" if value >= 10 or value == 0 else "0.0"
            return str(numbers.format_decimal(value, form, locale=self._reader.language))
        return self._write(value, unit)


def _form(value: float) -> str:
    """Give as many digits as tell the values of an axis apart, also in a deployment's first minutes."""
    if 0 < value < 0.1:
        return "#,##0.####"
    return "#,##0.##" if 0 < value < 1 else "#,##0.#"


# --- numbers ------------------------------------------------------------------------------------------------------


def _scale(highest: float, unit: Unit) -> list[float]:
    """Give round values from zero up to one that is not below the highest: a handful, for grid lines."""
    factor = _HOUR_MS if unit == "gpu_hours" else 1024.0 ** _place(highest) if unit == "bytes" else 1.0
    top = highest / factor
    if not top > 0:
        return [0.0, factor]
    rough = top / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one >= rough * (1 - 1e-9))
    count = math.ceil(top / step - 1e-9)
    return [step * place * factor for place in range(count + 1)]


def _height(value: float, scale: Sequence[float]) -> float:
    return _FLOOR - (_FLOOR - _TOP) * value / scale[-1]


def _grid(scale: Sequence[float]) -> Markup:
    return Markup("").join(
        Markup('<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>').format(_number(_height(value, scale)))
        for value in scale
    )


def _place(size: float) -> int:
    return min(int(math.log(size, 1024) + 1e-12), len(_BINARY) - 1) if size >= 1 else 0


def _some(count: int, most: int) -> list[int]:
    """Choose places, evenly, at most so many."""
    return list(range(0, count, max(1, -(-count // most))))


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _rect(css: str, x: float, width: float, y: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{}%" width="{}%" y="{}%" height="{}%"/>').format(
        css, _number(x), _number(width), _number(y), _number(height)
    )


def _bottom(labels: Sequence[tuple[float, str]]) -> list[Markup]:
    """Write what stands under the axis; what is near an edge stays within it."""
    return [
        Markup('<text class="tick" x="{}%" y="100%" dy="-4" text-anchor="{}">{}</text>').format(
            _number(place), "start" if place < 6 else "end" if place > 94 else "middle", text
        )
        for place, text in labels
    ]


def _path(points: Sequence[tuple[datetime, float | None]], start: datetime, span: float, top: float) -> str:
    words, on = [], False
    for when, value in points:
        if value is None:
            on = False
            continue
        x = 1000 * (when - start).total_seconds() / span
        y = 1000 - 1000 * min(max(value / top, 0.0), 1.0)
        words.append(f"{'L' if on else 'M'}{_number(x)} {_number(y)}")
        on = True
    return "".join(words)
