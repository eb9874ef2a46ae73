"""Node packages that tests need, installed from their lock files."""

import fcntl
import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def npm_ci(directory: Path) -> Path:
    """Install what ``package-lock.json`` in `directory` says, unless it is there, and return ``node_modules``."""
    modules = directory / "node_modules"
    digest = hashlib.sha256((directory / "package-lock.json").read_bytes()).hexdigest()
    mark = modules / ".berth-lock"
    with (directory / "package.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests may run in several processes
        if not mark.is_file() or mark.read_text() != digest:
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=directory,
                check=True,
                capture_output=True,
                text=True,
            )
            mark.write_text(digest)
    return modules


def configurable_http_proxy() -> Path:
    """Find the proxy that the repository's lock file names, and install it if nobody has yet."""
    program = ROOT / "node_modules/.bin/configurable-http-proxy"
    if not program.exists():  # one that is there may be running
        npm_ci(ROOT)
    return program
