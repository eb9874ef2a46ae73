"""Gather the console's texts for its translators: ``.venv/bin/python scripts/messages.py``.

Writes each catalogue below ``spawner/console/locale`` anew, with what is translated already; texts that are gone are
dropped, and new ones are left empty. With ``--check`` it writes nothing, and says what is to be done.
"""

import io
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parents[1]
CONSOLE = ROOT / "spawner/console"
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {
    "templates/**.html": {"newstyle_gettext": "true", "trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
}
KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}


def extracted(locale: str) -> Catalog:
    """Find all texts in the code and the templates."""
    found = Catalog(locale=locale, project="Berth", charset="utf-8")
    for _, _, text, comments, context in extract_from_dir(CONSOLE, METHODS, OPTIONS, KEYWORDS):
        found.add(text, auto_comments=comments, context=context)
    return found


def updated(path: Path) -> Catalog:
    """Give a catalogue with today's texts and the translations that there are."""
    locale = path.parent.parent.name
    with path.open("rb") as file:
        there = read_po(file, locale=locale)
    catalog = extracted(locale)
    for message in catalog:
        known = there.get(message.id, message.context) if message.id else None
        if known is not None:
            message.string = known.string
    return catalog


def written(catalog: Catalog) -> bytes:
    """Write a catalogue; without dates and places in files, which would change with every line of a template."""
    out = io.BytesIO()
    write_po(out, catalog, width=100, no_location=True, omit_header=True, sort_output=True)
    kind = f'Language: {catalog.locale}\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n'
    plurals = f'"Plural-Forms: {catalog.plural_forms}\\n'
    return f'msgid ""\nmsgstr ""\n"{kind}{plurals}"\n\n'.encode() + out.getvalue()


def faults(path: Path) -> list[str]:
    """Say what is wrong with a catalogue."""
    catalog = updated(path)
    found = [] if path.read_bytes() == written(catalog) else [f"{path}: run scripts/messages.py"]
    for message in catalog:
        if message.id:
            strings = message.string if isinstance(message.string, tuple) else (message.string,)
            if not all(strings):
                found.append(f"{path}: not translated: {message.id}")
            found += [f"{path}: {error}: {message.id}" for error in message.check(catalog)]
    return found


def main() -> int:
    paths = sorted((CONSOLE / "locale").glob("*/LC_MESSAGES/console.po"))
    if "--check" in sys.argv[1:]:
        wrong = [fault for path in paths for fault in faults(path)]
        sys.stdout.write("".join(f"{fault}\n" for fault in wrong))
        return bool(wrong)
    for path in paths:
        path.write_bytes(written(updated(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
