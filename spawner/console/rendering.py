"""Pages from templates: in the reader's language and time zone, everything escaped."""

import hashlib
import math
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from babel import numbers
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from .languages import catalogues, choose, dated, name_of

if TYPE_CHECKING:
    from .callers import Caller

_HERE = Path(__file__).parent
TEMPLATES, STATIC = _HERE / "templates", _HERE / "static"
LANGUAGE_COOKIE, ZONE_COOKIE, FLASH_COOKIE = "berth-language", "berth-zone", "berth-flash"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Reader:
    """How whoever reads a page wants it.

    Attributes
    ----------
    known_zone
        Whether the browser has said its zone; else times are in UTC, and say so.
    """

    language: str
    zone: zoneinfo.ZoneInfo
    known_zone: bool


def reader_of(request: Request) -> Reader:
    """Tell the language and time zone of a request."""
    language = choose(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", ""))
    zone = _zone(unquote(request.cookies.get(ZONE_COOKIE, "")))
    return Reader(language, zone or zoneinfo.ZoneInfo("UTC"), zone is not None)


def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name) if name else None
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None  # a browser may know zones that we do not


class Pages:
    """Renders templates.

    Parameters
    ----------
    prefix, hub
        Paths of the console and of the hub, with a slash at both ends.
    clock
        Gives the time.
    """

    def __init__(self, prefix: str, hub: str, clock: Callable[[], datetime]) -> None:
        self._prefix, self._hub, self._clock = prefix, hub, clock
        self._of_language: dict[str, Environment] = {}
        self._globals: dict[str, Any] = {"static": self._static}

    def add_globals(self, **values: Any) -> None:
        """Let all templates use these; before the first is rendered."""
        self._globals |= values

    def render(
        self, request: Request, caller: "Caller | None", template: str, /, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Render a page, or a part of one.

        Parameters
        ----------
        template
            Its path below ``templates/``.
        values
            For the template, beside ``caller``, ``reader``, ``now``, ``prefix``, ``hub``, ``here`` (path of the page),
            ``flash`` (what the last action said) and the functions ``static(name)`` and ``csrf_field()``.
        """
        text, flash = self._text(request, caller, template, values)
        answer = HTMLResponse(text, status)
        if flash:
            answer.delete_cookie(FLASH_COOKIE, path=self._prefix)
        return answer

    def parts(self, request: Request, template: str, /, **values: Any) -> Any:
        """Give a template's macros, to render many parts of a page one by one.

        Parameters
        ----------
        values
            For the macros, beside ``reader``, ``now``, ``prefix`` and ``hub``.
        """
        reader = reader_of(request)
        known = {"reader": reader, "now": self._clock(), "prefix": self._prefix, "hub": self._hub}
        return self._environment(reader.language).get_template(template).make_module({**known, **values})

    def problem(
        self, request: Request, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Render what went wrong: as a page, or in a line where only part of a page was asked for."""
        template = "problem-part.html" if "HX-Request" in request.headers else "problem.html"
        text, _ = self._text(request, None, template, {"status": status, "code": code, "detail": detail})
        return HTMLResponse(text, status, dict(headers or {}))

    def gettext(self, request: Request) -> Callable[[str], str]:
        """Give the function that translates into a request's language, for texts that are made in Python."""
        return catalogues()[reader_of(request).language].gettext

    def _text(
        self, request: Request, caller: "Caller | None", template: str, values: Mapping[str, Any]
    ) -> tuple[str, str]:
        reader = reader_of(request)
        flash = _flash_in(request)
        token = caller.form_token if caller else ""
        text = (
            self._environment(reader.language)
            .get_template(template)
            .render(
                {
                    "caller": caller,
                    "reader": reader,
                    "now": self._clock(),
                    "prefix": self._prefix,
                    "hub": self._hub,
                    "here": request.url.path,
                    "flash": flash,
                    "form_token": token,
                    "csrf_field": lambda: Markup('<input type="hidden" name="csrf" value="{}">').format(token),
                    "languages": {name: name_of(name) for name in catalogues()},
                    **values,
                }
            )
        )
        return text, flash

    def _environment(self, language: str) -> Environment:
        found = self._of_language.get(language)
        if found is None:
            found = Environment(
                loader=FileSystemLoader(TEMPLATES),
                autoescape=True,
                undefined=StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
                extensions=["jinja2.ext.i18n"],
            )
            translations = catalogues()[language]
            found.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]
            found.globals |= self._globals
            found.filters |= {
                "moment": moment,
                "clock_time": clock_time,
                "length": length,
                "gpu_hours": gpu_hours,
                "bytes": in_bytes,
                "percent": percent,
                "number": number,
            }
            self._of_language[language] = found
        return found

    def _static(self, name: str) -> str:
        return f"{self._prefix}static/{name}?v={_version(name)}"


def go(request: Request, path: str, flash: str = "") -> Response:
    """Go on to a page after an action that a form asked for.

    Parameters
    ----------
    flash
        What the page says of it, once.
    """
    answer = RedirectResponse(path, 303)
    if flash:
        answer.set_cookie(
            FLASH_COOKIE,
            flash.encode().hex()[:3000],
            max_age=60,
            path=request.app.state.console.prefix,
            httponly=True,
            samesite="lax",
        )
    return answer


def _flash_in(request: Request) -> str:
    try:
        return bytes.fromhex(request.cookies.get(FLASH_COOKIE, "")).decode("utf-8", "ignore")
    except ValueError:
        return ""


@cache
def _version(name: str) -> str:
    """Tell a static file's version, so that browsers may keep it for ever."""
    path = STATIC / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else "0"


# --- filters -------------------------------------------------------------------------------------------------------


def _reader(context: Context) -> Reader:
    found: Reader = context["reader"]
    return found


@pass_context
def moment(context: Context, when: datetime | None, form: str = "short") -> Markup:
    """Write a time as ``<time>``, in the reader's zone; without the day where it is today.

    Parameters
    ----------
    form
        ``short``: 14:30, or 3 Mar, 14:30; ``full``: with the year and the zone.
    """
    if when is None:
        return Markup("")
    reader = _reader(context)
    local = when.astimezone(reader.zone)
    today = local.date() == context["now"].astimezone(reader.zone).date()
    if form == "full":
        text = dated(local, "d MMM y, HH:mm:ss z", reader.language)
    elif today:
        text = dated(local, "HH:mm", reader.language)
    else:
        year = "" if local.year == context["now"].year else " y"
        text = dated(local, f"d MMM{year}, HH:mm", reader.language)
    if form != "full" and not reader.known_zone:
        text += " UTC"
    stamp = when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" data-form="{}">{}</time>').format(stamp, form, text)


@pass_context
def clock_time(context: Context, when: datetime) -> str:
    """Write the time of day in the reader's zone."""
    return dated(when.astimezone(_reader(context).zone), "HH:mm", _reader(context).language)


@pass_context
def length(context: Context, span: timedelta | float | None) -> str:
    """Write a length of time (seconds, if a number): "2 h 5 min", "3 d 4 h", "40 s"."""
    if span is None:
        return "–"
    seconds = max(0, int(span.total_seconds() if isinstance(span, timedelta) else span))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = round(seconds / 60), 0
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    day = catalogues()[_reader(context).language].gettext("d")
    parts = [(days, day), (hours, "h"), (0 if days else minutes, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 min"


@pass_context
def gpu_hours(context: Context, gpu_ms: float | None, digits: int = 1) -> str:
    """Write GPU-milliseconds as GPU-hours."""
    if gpu_ms is None:
        return "–"
    pattern = "#,##0." + "0" * digits if digits else "#,##0"
    return str(numbers.format_decimal(gpu_ms / _HOUR_MS, pattern, locale=_reader(context).language))


@pass_context
def number(context: Context, value: float | None, digits: int = 0) -> str:
    """Write a number as the reader's language does."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞"
    pattern = "#,##0." + "#" * digits if digits else "#,##0"
    return str(numbers.format_decimal(value, pattern, locale=_reader(context).language))


@pass_context
def in_bytes(context: Context, size: float | None) -> str:
    """Write a size with a binary unit."""
    if size is None:
        return "–"
    place = min(int(math.log(size, 1024)), len(_UNITS) - 1) if size >= 1 else 0
    value = size / 1024**place
    digits = 1 if place and value < 100 else 0
    return f"{number(context, round(value, digits), digits)} {_UNITS[place]}"


@pass_context
def percent(context: Context, ratio: float | None) -> str:
    """Write a ratio in per cent."""
    return "–" if ratio is None else str(numbers.format_percent(ratio, "#,##0 %", locale=_reader(context).language))
