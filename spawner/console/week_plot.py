"""A week of GPU capacity as a figure: seven days side by side, each with who has how much of it, hour by hour."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

from markupsafe import Markup

from ..operations.availability import Step, coarse
from ..operations.calendar import Booking, KindCapacity
from .languages import dated
from .plots import COLOURS, Colour
from .rendering import Reader

OTHERS = "reserved"
"""Colour of what the reader may not know the course of."""
_HOURS = (0, 6, 12, 18, 24)
_MOST_STEPS = 96  # of each kind, in a picture and its table
_NARROW = 0.2  # of a day's width: no name is written into what takes less


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a day's column: what is reserved, or taken. Places are parts of one."""

    css: str
    left: float
    width: float
    top: float
    height: float
    name: str
    title: str


class WeekPlotter:
    """Draws weeks for one reader.

    Parameters
    ----------
    names
        Titles of the courses that the reader may know.
    colours
        Of these.
    """

    def __init__(
        self,
        reader: Reader,
        gettext: Callable[[str], str],
        names: Mapping[str, str],
        colours: Mapping[str, Colour],
    ) -> None:
        self._reader, self._, self._names, self._colours = reader, gettext, names, colours

    def week(self, title: str, found: KindCapacity, since: datetime, now: datetime, days: int = 7) -> Markup:
        """Draw a kind's week that begins at the midnight `since`."""
        zone = self._reader.zone
        first = since.astimezone(zone).date()
        edges = [datetime.combine(first + timedelta(days=day), time(), zone).astimezone(UTC) for day in range(days + 1)]
        steps = coarse(found.steps, edges[-1], _MOST_STEPS) if found.steps else []
        columns = []
        for begin, end in pairwise(edges):
            blocks = [*self._taken(steps, found.total, begin, end, edges[-1]), *self._booked(found, begin, end)]
            local = begin.astimezone(zone)
            today = " today" if begin <= now < end else ""
            columns.append(
                Markup(
                    '<div class="week-day{}"><p><span>{}</span> {}</p>'
                    '<svg class="week-column" aria-hidden="true" focusable="false">{}</svg></div>'
                ).format(
                    today,
                    dated(local, "EEE", self._reader.language),
                    dated(local, "d", self._reader.language),
                    self._column(blocks, self._at(now, begin, end) if today else None, past=end <= now),
                )
            )
        hours = Markup("").join(
            Markup('<text x="100%" y="{}%" text-anchor="end" dy="{}">{:02}</text>').format(
                _number(100 * hour / 24), "0.9em" if hour == 0 else "-0.2em" if hour == 24 else "0.35em", hour
            )
            for hour in _HOURS
        )
        return Markup(
            '<figure class="plot week"><figcaption><span class="plot-title">{title}</span>{legend}</figcaption>'
            '<div class="week-days{bare}" role="img" aria-label="{label}">'
            '<div class="week-hours" aria-hidden="true"><p></p><svg class="week-column">{hours}</svg></div>'
            "{columns}</div>"
            "<details><summary>{summary}</summary>{table}</details></figure>"
        ).format(
            title=title,
            bare="" if found.bookings or any(step.leased or step.out for step in steps) else " bare",
            legend=self._legend(found),
            label=f"{title}. {self._said(found)}",
            hours=hours,
            columns=Markup("").join(columns),
            summary=self._("As a table"),
            table=self._table(found, steps),
        )

    # --- blocks -------------------------------------------------------------------------------------------------------

    def _booked(self, found: KindCapacity, begin: datetime, end: datetime) -> Iterator[Block]:
        """Give the blocks of what classes have on a day, side by side."""
        for booking, place in _side_by_side(found.bookings):
            starts_at, ends_at = max(booking.starts_at, begin), min(booking.ends_at, end)
            if starts_at >= ends_at:
                continue
            name = self._names.get(booking.course, "")
            shown = name or self._("reserved")
            title = self._("{name}: {count} of {total}, {start} to {end}").format(
                name=shown,
                count=booking.count,
                total=found.total,
                start=self._clock(booking.starts_at),
                end=self._clock(booking.ends_at),
            )
            css = self._colours.get(booking.course, OTHERS) if name else OTHERS
            for since, until in _parts(starts_at, ends_at, self._reader):
                top, bottom = self._at(since, begin, end), self._at(until, begin, end, last=True)
                width = booking.count / found.total
                yield Block(css, place / found.total, width, top, max(bottom - top, 0.004), shown, title)

    def _taken(
        self, steps: Sequence[Step], total: int, begin: datetime, end: datetime, last: datetime
    ) -> Iterator[Block]:
        """Give the blocks of what leases hold, and of what is out of service, on a day; from the right."""
        if not steps:  # the week is over
            return
        ends = [*(step.at for step in steps[1:]), last]
        for step, until in zip(steps, ends, strict=True):
            starts_at, ends_at = max(step.at, begin), min(until, end)
            if starts_at >= ends_at:
                continue
            for since, to in _parts(starts_at, ends_at, self._reader):
                top, bottom = self._at(since, begin, end), self._at(to, begin, end, last=True)
                right = 1.0
                for css, count, word in (
                    ("out", step.out, self._("out of service")),
                    ("leased", step.leased, self._("in use")),
                ):
                    if count:
                        width = count / total
                        right -= width
                        yield Block(css, right, width, top, bottom - top, "", f"{count} {word}")

    def _at(self, moment: datetime, begin: datetime, end: datetime, *, last: bool = False) -> float:
        """Tell where on a day a moment stands, by the clocks of that day."""
        if moment >= end or (last and moment == end):
            return 1.0
        local = moment.astimezone(self._reader.zone)
        day = begin.astimezone(self._reader.zone).date()
        if local.date() != day:
            return 0.0 if local.date() < day else 1.0
        return (local.hour + local.minute / 60 + local.second / 3600) / 24

    # --- pictures -----------------------------------------------------------------------------------------------------

    def _column(self, blocks: Iterable[Block], now: float | None, *, past: bool) -> Markup:
        parts = [Markup('<rect class="room{}" width="100%" height="100%"/>').format(" past" if past else "")]
        if now:
            parts.append(Markup('<rect class="room past" width="100%" height="{}%"/>').format(_number(100 * now)))
        parts += [
            Markup('<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>').format(_number(100 * hour / 24))
            for hour in _HOURS[1:-1]
        ]
        names = []
        for block in blocks:
            box = [_number(100 * one) for one in (block.left, block.top, block.width, block.height)]
            parts.append(
                Markup(
                    '<svg x="{}%" y="{}%" width="{}%" height="{}%"><title>{}</title>'
                    '<rect class="{}" width="100%" height="100%"/></svg>'
                ).format(*box, block.title, block.css)
            )
            if block.name and block.width >= _NARROW:
                names.append(
                    Markup(
                        '<svg x="{}%" y="{}%" width="{}%" height="{}%"><text x="3" y="1.05em">{}</text></svg>'
                    ).format(*box, block.name)
                )
        if now is not None:
            parts.append(Markup('<line class="now" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>').format(_number(100 * now)))
        parts += names  # last, lest that line strike them out
        return Markup("").join(parts)

    def _legend(self, found: KindCapacity) -> Markup:
        keys: dict[str, str] = {}
        for booking in found.bookings:
            name = self._names.get(booking.course)
            keys.setdefault(name or self._("reserved"), self._colours.get(booking.course, OTHERS) if name else OTHERS)
        if any(step.leased for step in found.steps):
            keys[self._("in use")] = "leased"
        if any(step.out for step in found.steps):
            keys[self._("out of service")] = "out"
        items = [Markup('<li><i class="key {}"></i>{}</li>').format(css, name) for name, css in keys.items()]
        return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))

    def _said(self, found: KindCapacity) -> str:
        if not found.bookings:
            return self._("{total} in all; no class has reserved any in this week.").format(total=found.total)
        most = max(booking.count for booking in found.bookings)
        return self._("{total} in all; classes have reserved some {times} times, up to {most} at once.").format(
            total=found.total, times=len(found.bookings), most=most
        )

    # --- words --------------------------------------------------------------------------------------------------------

    def _table(self, found: KindCapacity, steps: Sequence[Step]) -> Markup:
        columns = [self._("Free"), self._("Reserved"), self._("In use"), self._("Out of service")]
        head = Markup("").join(Markup('<th scope="col" class="number">{}</th>').format(name) for name in columns)
        lines = []
        for step in steps:
            counts = (step.free, step.reserved, step.leased, step.out)
            cells = Markup("").join(Markup('<td class="number">{}</td>').format(count) for count in counts)
            row = Markup('<tr><th scope="row">{}</th>{}<td>{}</td></tr>')
            lines.append(row.format(self._clock(step.at, day=True), cells, self._who(found.bookings, step.at)))
        return Markup(
            '<div class="table-wrap"><table><thead><tr><th scope="col">{}</th>{}<th scope="col">{}</th></tr></thead>'
            "<tbody>{}</tbody></table></div>"
        ).format(self._("From"), head, self._("For"), Markup("").join(lines))

    def _who(self, bookings: Iterable[Booking], at: datetime) -> str:
        held = [one for one in bookings if one.starts_at <= at < one.ends_at]
        return ", ".join(f"{self._names.get(one.course) or self._('reserved')} ({one.count})" for one in held)

    def _clock(self, moment: datetime, *, day: bool = False) -> str:
        return dated(
            moment.astimezone(self._reader.zone), "EEE d MMM, HH:mm" if day else "HH:mm", self._reader.language
        )


def colours_of(courses: Iterable[str]) -> dict[str, Colour]:
    """Give each course a colour, the same on every figure of a page."""
    return {course: COLOURS[place % len(COLOURS)] for place, course in enumerate(courses)}


def _side_by_side(bookings: Sequence[Booking]) -> Iterator[tuple[Booking, int]]:
    """Give each booking a place, so that those of one time do not lie on each other."""
    placed: list[tuple[Booking, int]] = []
    for booking in bookings:
        beside = sorted(
            (place, place + one.count)
            for one, place in placed
            if one.starts_at < booking.ends_at and booking.starts_at < one.ends_at
        )
        free = 0
        for begin, end in beside:
            if begin - free >= booking.count:
                break
            free = max(free, end)
        placed.append((booking, free))
        yield booking, free


def _parts(starts_at: datetime, ends_at: datetime, reader: Reader) -> Iterator[tuple[datetime, datetime]]:
    """Cut a time where clocks are changed: on such a day, an hour stands twice, or is not there."""
    if starts_at.astimezone(reader.zone).utcoffset() == ends_at.astimezone(reader.zone).utcoffset():
        yield starts_at, ends_at
        return
    low, high = starts_at, ends_at
    before = low.astimezone(reader.zone).utcoffset()
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) / 2
        if middle.astimezone(reader.zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    change = high.replace(second=0, microsecond=0)
    yield starts_at, change - timedelta(seconds=1)
    yield change, ends_at


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
