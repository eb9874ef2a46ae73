"""Tables as files for spreadsheets."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from starlette.responses import StreamingResponse

MEDIA_TYPE = "text/csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LINES = 200  # that go into one piece


class CsvFile(StreamingResponse):
    media_type = MEDIA_TYPE


CSV_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "A table.", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}
}


def csv_file(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> CsvFile:
    """Answer with a table, row by row.

    Text that a spreadsheet would take for a formula comes with an apostrophe before it.
    """
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return CsvFile(_pieces(head, rows), headers=headers)


def _pieces(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(head)
    for number, row in enumerate(rows, 1):
        writer.writerow([_harmless(cell) for cell in row])
        if number % _LINES == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
