"""Processes that tests start: their log on disk, an end for certain."""

import contextlib
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


@contextlib.contextmanager
def process(
    command: Sequence[str | Path], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own, with its output in `log`; at the end the group is ended."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=10)
                if number == signal.SIGTERM:
                    continue  # its children may live on


def wait_for_http(
    address: str,
    started: subprocess.Popen[bytes],
    log: Path,
    seconds: float = 60,
    *,
    context: ssl.SSLContext | None = None,
) -> None:
    """Wait until an address answers with success: a proxy may answer before what is behind it does.

    Raises
    ------
    RuntimeError
        With the end of the log, if the process ends or does not answer in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if started.poll() is not None:
            raise RuntimeError(f"ended with {started.returncode}:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(address, timeout=5, context=context):
                return
        except OSError:  # an HTTPError is one too
            time.sleep(0.1)
    raise RuntimeError(f"{address} did not answer within {seconds} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-8000:]


def processes_of(program: str, directory: Path) -> list[int]:
    """Find running processes by a word of their command line and a path in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            environment = (entry / "environ").read_bytes().decode("utf-8", "replace")
            if program in command and str(directory) in environment:
                found.append(int(entry.name))
    return sorted(found)
