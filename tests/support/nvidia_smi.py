"""What ``nvidia-smi`` says of this machine's GPUs, where it has any."""

import csv
import functools
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

_NO_SUCH_FIELD = re.compile(r'Field "([^"]+)" is not a valid field to query')


@functools.cache
def why_not() -> str:
    """Give the reason why there is nothing to ask; empty if there is a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "no GPU: there is no nvidia-smi"
    listed = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, timeout=120, check=False)
    return (
        "" if listed.returncode == 0 and listed.stdout.strip() else f"no GPU: nvidia-smi says {listed.stdout.strip()}"
    )


def query_gpus(fields: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """Give the values by UUID, without units; a field that this version of it does not know is left out."""
    asked = ["uuid", *fields]
    while True:
        done = _run(f"--query-gpu={','.join(asked)}")
        unknown = _NO_SUCH_FIELD.search(done.stdout + done.stderr)
        if unknown is None:
            break
        asked.remove(unknown[1])
    assert done.returncode == 0, done.stdout
    rows = [dict(zip(asked, row, strict=True)) for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True)]
    return {row["uuid"]: row for row in rows}


def query_processes() -> set[tuple[str, int]]:
    """Give the UUID and the pid of each process that computes."""
    done = _run("--query-compute-apps=gpu_uuid,pid")
    assert done.returncode == 0, done.stdout
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return {(row[0], int(row[1])) for row in rows if row}


def _run(query: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
