"""Files that say who holds each GPU, for dcgm-exporter's ``--hpc-job-mapping-dir``.

dcgm-exporter takes every file there whose name is a whole number for the GPU with that index, whatever its MIG
instances, and gives the GPU's metrics once for each line, with the line as the label ``hpc_job``. A file without lines
is like none.
"""

import contextlib
import logging
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

from .names import Naming
from .snapshot import Snapshot

_LOG = logging.getLogger("berth.exporter")

_AT_LEAST_SECONDS = 30.0  # also without a change: a GPU's index may be another after the driver was loaded anew
_SETTLE_SECONDS = 0.2  # changes come in bursts


def job_ids(snapshot: Snapshot, naming: Naming) -> dict[int, list[str]] | None:
    """Give the holders of each GPU by its index, as ``LEASE/USER/SERVER``; None if that cannot be told now.

    The default server's name is empty, and the text ends with the slash.
    """
    if snapshot.telemetry is None:
        return None
    found: dict[int, list[str]] = {}
    indices = {one.gpu.uuid: one.gpu.index for one in snapshot.telemetry.gpus}
    for held in snapshot.holdings:
        if held.gpu in indices:
            owner = held.container
            job = _line(f"{owner.lease}/{naming.user(owner.user)}/{owner.server}")
            jobs = found.setdefault(indices[held.gpu], [])
            if job not in jobs:
                jobs.append(job)
    return {index: sorted(jobs) for index, jobs in sorted(found.items())}


def _line(text: str) -> str:
    """Make one line of it, whatever a user's name holds."""
    return "".join("?" if unicodedata.category(sign) in {"Cc", "Zl", "Zp"} else sign for sign in text)


def write_mapping(directory: Path, jobs: dict[int, list[str]]) -> None:
    """Write the files of held GPUs and remove the others; each is changed as a whole or not at all.

    Raises
    ------
    OSError
    """
    directory.mkdir(parents=True, exist_ok=True)
    for index, lines in jobs.items():
        text, file = "".join(f"{line}\n" for line in lines), directory / str(index)
        with contextlib.suppress(FileNotFoundError):
            if file.read_text(encoding="utf-8") == text:
                continue
        made = directory / f".{index}.new"  # whose name is no number
        made.write_text(text, encoding="utf-8")
        made.chmod(0o644)
        made.replace(file)
    for file in directory.iterdir():
        if file.name.isdecimal() and int(file.name) not in jobs:
            file.unlink(missing_ok=True)


class MappingWriter:
    """Keeps the files up to date in a thread of its own; without scrapes, too.

    Parameters
    ----------
    snapshot
        Looks at the node.
    """

    def __init__(self, directory: Path, snapshot: Callable[[], Snapshot], naming: Naming) -> None:
        self._directory, self._snapshot, self._naming = directory, snapshot, naming
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="job-mapping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def changed(self) -> None:
        """Say that containers have come or gone."""
        self._changed.set()

    def close(self) -> None:
        """Stop, and take the files away, which nobody keeps true any more."""
        self._closed.set()
        self._changed.set()
        self._thread.join(timeout=5)
        with contextlib.suppress(OSError):
            write_mapping(self._directory, {})

    def _run(self) -> None:
        while not self._closed.is_set():
            self._changed.clear()
            jobs = job_ids(self._snapshot(), self._naming)
            if jobs is not None and not self._closed.is_set():
                self._write(jobs)
            self._changed.wait(_AT_LEAST_SECONDS)
            self._closed.wait(_SETTLE_SECONDS)

    def _write(self, jobs: dict[int, list[str]]) -> None:
        try:
            write_mapping(self._directory, jobs)
        except OSError as error:
            if str(error) != self._said:
                _LOG.error("The job mapping cannot be written to %s: %s", self._directory, error)
            self._said = str(error)
        else:
            self._said = ""
