"""A PostgreSQL of the tests' own, from Debian's package: a cluster in a directory, ended with the tests."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from .ports import free_ports

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
_USER = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
}
# Where a cluster does not outlive the machine, what a crash of the machine would lose does not matter.
_HASTY = {"fsync": "off", "full_page_writes": "off"}


def binaries() -> Path | None:
    """Where PostgreSQL's programs are: Debian's newest, or those on the PATH."""
    if _PLACES:
        return _PLACES[0]
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def why_not() -> str | None:
    """Say why no PostgreSQL can be run here; None if one can."""
    if binaries() is None:
        return "no PostgreSQL: apt-get install postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no user {_USER}"
    return None


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server."""

    directory: Path
    port: int
    durable: bool = False

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        settings = {**_SETTINGS, "port": self.port, **({} if self.durable else _HASTY)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        socket = f"-c unix_socket_directories={self.directory}"
        log = str(self.directory / "log")
        self._pg_ctl("start", "-w", "-t", "60", "-l", log, "-o", f"{options} {socket}")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``immediate`` as if it had crashed."""
        self._pg_ctl("stop", "-w", "-t", "60", "-m", mode)

    @property
    def running(self) -> bool:
        return (self.directory / "data" / "postmaster.pid").exists()

    def cpu_seconds(self) -> float:
        """Give the processor time that the server has used, that of ended connections included."""
        pid = int((self.directory / "data" / "postmaster.pid").read_text().splitlines()[0])
        ticks = sum(_times(pid))
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if _parent(int(entry.name)) == pid:
                    ticks += sum(_times(int(entry.name))[:2])
        return ticks / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Make an empty database; gives its address. It is removed in the end."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            with psycopg.connect(self.url(), autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def initialise(self) -> None:
        self._run("initdb", "-D", self.directory / "data", "-U", _USER, "--auth=trust", "--no-sync", "-E", "UTF8")

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", self.directory / "data", *arguments)

    def _run(self, program: str, *arguments: str | Path) -> None:
        found = binaries()
        assert found is not None
        with (self.directory / f"{program}.out").open("ab") as output:
            done = subprocess.run(
                [str(found / program), *map(str, arguments)],
                # Not a pipe: the server, which lives on, would keep it open.
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                user=_USER if os.geteuid() == 0 else None,
                group=_USER if os.geteuid() == 0 else None,
                extra_groups=[] if os.geteuid() == 0 else None,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                check=False,
            )
        if done.returncode:
            logs = [self.directory / f"{program}.out", self.directory / "log"]
            raise RuntimeError("\n".join(log.read_text(errors="replace")[-4000:] for log in logs if log.exists()))


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _times(pid: int) -> tuple[int, ...]:
    """Give the ticks of a process: its own in user and system mode, then those of its ended children."""
    return tuple(map(int, _stat(pid)[11:15]))


@contextlib.contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """Run a new cluster; ended and removed in the end, whatever happens.

    Parameters
    ----------
    durable
        Whether each commit waits for the disk, as a real server's does.
    """
    # Not pytest's directory: that is for its own user only, and the server is another one.
    directory = Path(tempfile.mkdtemp(prefix="berth-pg-"))
    made = Cluster(directory, free_ports(1)[0], durable)
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, _USER, _USER)
        made.initialise()
        made.start()
        yield made
    finally:
        if made.running:
            with contextlib.suppress(RuntimeError):
                made.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)
