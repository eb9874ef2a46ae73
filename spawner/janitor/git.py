"""Git as the janitor runs it: no prompts, no hooks, nobody's configuration, one protocol, and an end.

What git answers to is not trusted: an instructor chose the address, and the other side says what it likes.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import CourseFilesFailed

_PASSED_ON = (
    *("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
)
_LARGEST = 2 << 30  # bytes of one file that git may write, which is all that it fetches at once
_SPARE = 1 << 30  # bytes that are left to others on the disk, the ledger among them
_MOST = 2 * _LARGEST  # bytes of a repository with all that it was
_MOST_WORDS = 1 << 12
_LEFT_BEHIND = ("tmp_*", ".tmp-*", "*.temp", "*.prev")  # as git, and its helpers, call files that they write
_WORDLESS = ["fetch-pack: invalid index-pack output"]  # which says what is wrong, unless something ended it
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "core.askPass": "",
    "credential.helper": "",
    "gc.autoDetach": "false",
    "fetch.writeCommitGraph": "false",
    # A repository that redirects into a private network is one in a private network.
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "transfer.fsckObjects": "true",
    # Old repositories have these, and they do no harm.
    **{
        f"{verb}.fsck.{what}": "ignore"
        for verb in ("fetch", "receive")
        for what in ("zeroPaddedFilemode", "badTimezone")
    },
}


@dataclass(frozen=True)
class Git:
    """A bare repository, and how git is run on it.

    Attributes
    ----------
    directory
        Of the repository; other programs read it at any time.
    protocols
        That git may speak, with colons between.
    patience
        Seconds until a command is ended.
    certificates
        A bundle of authorities to be trusted; None for the machine's own.
    """

    directory: Path
    protocols: str = "https"
    patience: float = 120.0
    certificates: Path | None = None

    def initialise(self) -> None:
        """Make it a repository where it is none; the directory is there, and stays.

        What was left in it goes: nothing else works on it now.
        """
        self._clear()
        if not (self.directory / "HEAD").exists():
            self.run("init", "--bare", "--quiet", "--template=", "--initial-branch=main", what="The repository")

    def run(self, *arguments: str, what: str, settings: Sequence[str] = (), fail: bool = True) -> str:
        """Run a command; gives what it printed, empty if it failed and that is no matter.

        Raises
        ------
        CourseFilesFailed
            If it failed or took too long; the message begins with `what`, and has git's last words.
        """
        with self.running(*arguments, what=what, settings=settings, fail=fail) as process:
            said, _ = process.communicate()
            return said.decode("utf-8", "replace") if process.returncode == 0 else ""

    @contextlib.contextmanager
    def running(
        self, *arguments: str, what: str, settings: Sequence[str] = (), fail: bool = True, feed: bool = False
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a command that is talked to; in the end it has ended well.

        Raises
        ------
        CourseFilesFailed
        """
        program = shutil.which("git")
        if program is None:
            raise CourseFilesFailed("Git is missing on the hub's machine: apt-get install git.")
        chosen = [f"{name}={value}" for name, value in _SETTINGS.items()]
        options = [word for setting in (*chosen, *settings) for word in ("-c", setting)]
        limit = ["prlimit", f"--fsize={_LARGEST}"] if shutil.which("prlimit") else []
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [*limit, "nice", program, *options, *arguments],
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=self._environment(),
                cwd=self.directory,
                umask=0o022,  # of another uid are those who clone it
                start_new_session=True,
            )
            late = threading.Event()
            timer = threading.Timer(self.patience, _end, (process, late))
            timer.daemon = True
            timer.start()
            broken: OSError | None = None
            try:
                yield process
            except BrokenPipeError as error:
                broken = error
            except BaseException:
                _end(process)
                raise
            finally:
                _close(process)
                process.wait()
                timer.cancel()
                if process.returncode:
                    self._clear()
            if late.is_set():
                raise CourseFilesFailed(f"{what}: git has not ended within {self.patience:g} s.")
            if fail and (process.returncode or broken):
                raise CourseFilesFailed(f"{what}: {_words(complaints, process.returncode)}")

    def _clear(self) -> None:
        # Each try would leave as much again as git may write.
        for path in left_behind(self.directory):
            with contextlib.suppress(OSError):
                path.unlink()

    def _environment(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        if self.certificates is not None:
            passed["GIT_SSL_CAINFO"] = str(self.certificates)  # which goes before what settings say
        return {
            **passed,
            "GIT_DIR": str(self.directory),  # said, so that nobody looks for one, or asks whose it is
            "GIT_ALLOW_PROTOCOL": self.protocols,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "HOME": "/nonexistent",
            "LC_ALL": "C",
        }

    # --- what is in it

    def commit_of(self, name: str) -> str:
        """Give the commit of a reference; empty where there is none."""
        return self.run("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}", what=name, fail=False).strip()

    def tree_of(self, name: str) -> str:
        return self.run("rev-parse", "--quiet", "--verify", f"{name}^{{tree}}", what=name, fail=False).strip()

    def show_only(self, branch: str) -> None:
        """Make a branch the one that clones get, and remove all others."""
        what, head = "The repository", f"refs/heads/{branch}"
        if self.run("symbolic-ref", "HEAD", what=what, fail=False).strip() != head:
            self.run("symbolic-ref", "HEAD", head, what=what)
        for name in self.run("for-each-ref", "--format=%(refname)", what=what).splitlines():
            if name != head:
                self.run("update-ref", "-d", name, what=what)

    def make_room(self, what: str) -> None:
        """See to it that there is room for what is fetched, or written, next.

        Raises
        ------
        CourseFilesFailed
            If the disk is almost full, or the repository is too large with all that nobody has removed from it.
        """
        there = os.statvfs(self.directory)
        if there.f_bavail * there.f_frsize < _LARGEST + _SPARE:
            raise CourseFilesFailed(f"{what}: the hub's disk is almost full; tell an admin.")
        if self._size() > _MOST:
            # A history that is replaced again and again; clones that go on have what they read open.
            self.run("gc", "--prune=now", "--quiet", what=what)
            if self._size() > _MOST:
                raise CourseFilesFailed(f"{what}: it is too large; give large files to seats as a data set.")

    def _size(self) -> int:
        return sum(path.lstat().st_size for path in self.directory.glob("objects/*/*"))

    def tidy(self) -> None:
        """Pack what has come to lie loose; what is not used any more goes after two weeks."""
        for crash in self.directory.glob("fast_import_crash_*"):
            crash.unlink(missing_ok=True)
        self.run("gc", "--auto", "--quiet", what="The repository could not be packed", fail=False)


def left_behind(directory: Path) -> list[Path]:
    """List what programs that were ended have left in a repository: git looks at none of it ever again."""
    return [path for pattern in _LEFT_BEHIND for path in directory.glob(f"objects/*/{pattern}")]


def _end(process: "subprocess.Popen[bytes]", late: threading.Event | None = None) -> None:
    if late is not None:
        late.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with those that git has started


def _close(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _words(complaints: IO[bytes], code: int) -> str:
    complaints.seek(0)
    lines = complaints.read(_MOST_WORDS).decode("utf-8", "replace").splitlines()
    said = [line.partition(": ")[2] or line for line in lines if line.startswith(("fatal:", "error:"))]
    signs = (f"died of signal {signal.SIGXFSZ:d}", "File too large")
    if said == _WORDLESS or code == -signal.SIGXFSZ or any(sign in line for sign in signs for line in lines):
        return "it is too large; give large files to seats as a data set."
    return (" ".join(dict.fromkeys(said[:3])) or " ".join(lines[-2:]) or f"git ended with {code}").rstrip(".") + "."
