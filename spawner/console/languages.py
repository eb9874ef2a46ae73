"""The languages of the pages: English, and what lies in ``locale/``, one ``.po`` file each."""

import functools
import io
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

from babel import Locale, UnknownLocaleError, dates
from babel.core import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LOCALES = Path(__file__).parent / "locale"
ENGLISH = "en"


@functools.cache
def catalogues() -> Mapping[str, NullTranslations]:
    """Read all catalogues, by language."""
    found: dict[str, NullTranslations] = {ENGLISH: NullTranslations()}
    for path in sorted(LOCALES.glob("*/LC_MESSAGES/console.po")):
        compiled = io.BytesIO()
        with path.open("rb") as file:
            write_mo(compiled, read_po(file))
        compiled.seek(0)
        found[path.parent.parent.name] = _Catalogue(compiled)
    return found


class _Catalogue(Translations):
    """Translations in which no text stays none; of gettext itself it is the catalogue's header."""

    def gettext(self, message: str) -> str:
        return str(super().gettext(message)) if message else ""


def name_of(language: str) -> str:
    """Give a language's name in itself."""
    return (Locale.parse(language).get_display_name(language) or language).capitalize()


def dated(when: date, form: str, language: str) -> str:
    """Write a day, or a time, as a language does.

    Parameters
    ----------
    form
        A pattern of Unicode's CLDR, a day before its month as ``d MMM``; it becomes ``d. MMM`` where one writes so.
    """
    if "d." in str(Locale.parse(language).datetime_skeletons["MMMd"]):
        form = form.replace("d MMM", "d. MMM")
    if isinstance(when, datetime):
        return str(dates.format_datetime(when, form, locale=language))
    return str(dates.format_date(when, form, locale=language))


def choose(chosen: str | None, accepted: str) -> str:
    """Choose the language of a page.

    Parameters
    ----------
    chosen
        By the reader; what is no language of ours is ignored.
    accepted
        The browser's ``Accept-Language``.
    """
    known = list(catalogues())
    if chosen in known:
        return str(chosen)
    wished: list[tuple[float, int, str]] = []
    for part in accepted.split(","):
        name, _, quality = part.strip().partition(";q=")
        try:
            wished.append((-float(quality or 1), len(wished), str(Locale.parse(name.strip(), sep="-").language)))
        except (ValueError, UnknownLocaleError):
            continue
    return negotiate_locale([name for _, _, name in sorted(wished)], known) or ENGLISH
