"""The state directory: everything that a deployment keeps besides the users' homes."""

import contextlib
import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from .course_directory import CourseDirectory, Places
from .errors import SettingsInvalid, StateDirectoryBusy

# Without 0 O o, 1 l I i: passwords are read off one screen and typed on another.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789"
_USER_PASSWORD_LENGTH = 16
_ADMIN_PASSWORD_LENGTH = 32  # the least that JupyterHub's SharedPasswordAuthenticator takes
_ADMIN_USERS = ("admin",)
_HUB_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class Credentials:
    """How to sign in to a demo; the fields are the keys of ``credentials.json``."""

    url: str
    user_password: str
    admin_users: tuple[str, ...]
    admin_password: str

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, ...)"


@dataclass(frozen=True)
class StateLock:
    """A lock on a state directory, held as long as any process has its descriptor open.

    A child that inherits `fd` holds the lock on after its parent's death.
    """

    fd: int

    def name_owner(self, pid: int) -> None:
        """Write down who holds the lock, for whoever is refused."""
        os.pwrite(self.fd, f"{pid}\n".encode(), 0)
        os.ftruncate(self.fd, len(f"{pid}\n"))

    def release(self) -> None:
        """Close this process's descriptor; the lock ends once no other process has it open."""
        os.close(self.fd)


@dataclass(frozen=True)
class StateDirectory:
    """Names and makes what lies in the state directory, secrets with mode 0600."""

    path: Path

    def create(self) -> "StateDirectory":
        """Make the directory, readable by its owner only, and return `self`.

        Raises
        ------
        SettingsInvalid
            If it cannot be made, or holds other things: purging the state would take them along.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A start that was killed here may have left half of the first file.
            others = {
                entry.name
                for entry in self.path.iterdir()
                if entry.name != "lost+found" and not entry.name.startswith(f".{self.hub_id_file.name}-")
            }
            if others and not self.hub_id_file.exists():
                raise SettingsInvalid(
                    f"state_dir: {self.path} holds other things, {min(others)} for one; "
                    "name an empty directory, or one that is not there yet."
                )
            self.path.chmod(0o700)
            _once(self.hub_id_file, secrets.token_hex(4))
        except OSError as error:
            raise SettingsInvalid(f"state_dir: {self.path} cannot be used: {error.strerror}.") from None
        return self

    @property
    def database_url(self) -> str:
        """Address of JupyterHub's own database."""
        return f"sqlite:///{self.path / 'jupyterhub.sqlite'}"

    @property
    def ledger_file(self) -> Path:
        """The GPU ledger's database, where the settings name no other."""
        return self.path / "ledger.sqlite"

    def ledger_url(self, configured: SecretStr | None) -> str:
        """Give the address of the ledger's database.

        Parameters
        ----------
        configured
            What the settings name (`database_url`).
        """
        return f"sqlite:///{self.ledger_file}" if configured is None else configured.get_secret_value()

    @property
    def cookie_secret_file(self) -> Path:
        return self.path / "cookie-secret"

    @property
    def proxy_pid_file(self) -> Path:
        return self.path / "proxy.pid"

    @property
    def hub_pid_file(self) -> Path:
        return self.path / "hub.pid"

    @property
    def hub_log(self) -> Path:
        return self.path / "hub.log"

    @property
    def credentials_file(self) -> Path:
        return self.path / "credentials.json"

    @property
    def certificates(self) -> Path:
        """A bundle of certificate authorities, for images and users' containers."""
        return self.path / "ca-bundle.pem"

    @property
    def endpoints_file(self) -> Path:
        """What the sign-in's provider said last of its addresses."""
        return self.path / "sign-in-endpoints.json"

    def home_archives(self, configured: Path | None) -> Path:
        """Give the directory of archived homes.

        Parameters
        ----------
        configured
            What the settings name (`homes.archive_dir`).
        """
        return self.path / "homes" if configured is None else configured

    @property
    def courses(self) -> Path:
        """The directories of courses; see `spawner.course_directory`."""
        return self.path / "courses"

    def course(self, course: str) -> CourseDirectory:
        """Give a course's directory, which may not be there yet.

        Raises
        ------
        UnknownName
            If no course can be called so.
        """
        return Places(self.courses).course(course)

    @property
    def hub_id_file(self) -> Path:
        return self.path / "hub-id"

    @property
    def crypt_key_file(self) -> Path:
        return self.path / "crypt-key"

    @property
    def prometheus_token_file(self) -> Path:
        """The token with which Prometheus reads the hub's metrics."""
        return self.path / "prometheus-token"

    @property
    def console_key_file(self) -> Path:
        return self.path / "console-key"

    @property
    def metrics_key_file(self) -> Path:
        return self.path / "metrics-key"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def hub_id(self) -> str:
        """Eight hexadecimal digits which tell this deployment's objects on the engine; made at first use."""
        return _once(self.hub_id_file, secrets.token_hex(4))

    @property
    def crypt_key(self) -> str:
        """Key of what JupyterHub stores encrypted, 32 bytes in hexadecimal digits; made at first use."""
        return _once(self.crypt_key_file, secrets.token_hex(32))

    @property
    def prometheus_token(self) -> str:
        """What lies in `prometheus_token_file`; made at first use."""
        return _once(self.prometheus_token_file, secrets.token_hex(32))

    @property
    def metrics_key(self) -> bytes:
        """Key of the hashes that stand for users in metrics, see `spawner.metrics.pseudonyms`; made at first use."""
        return bytes.fromhex(_once(self.metrics_key_file, secrets.token_hex(32)))

    @property
    def console_key(self) -> bytes:
        """Key of the console's cookies and forms; made at first use."""
        return bytes.fromhex(_once(self.console_key_file, secrets.token_hex(32)))

    def known_hub_id(self) -> str | None:
        """Read the hub id where there is one; make none."""
        try:
            text = self.hub_id_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return text if _HUB_ID.fullmatch(text) else None

    def credentials(self, url: str) -> Credentials:
        """Read the demo's passwords, made at first use, and note where the hub is to be found.

        Parameters
        ----------
        url
            The hub's address; the file is rewritten when it differs.
        """
        known = self.known_credentials()
        credentials = Credentials(
            url,
            known.user_password if known else _password(_USER_PASSWORD_LENGTH),
            _ADMIN_USERS,
            known.admin_password if known else _password(_ADMIN_PASSWORD_LENGTH),
        )
        if credentials != known:
            text = json.dumps(asdict(credentials), indent=2) + "\n"
            with _written(self.credentials_file, text) as temporary:
                temporary.replace(self.credentials_file)
        return credentials

    def known_credentials(self) -> Credentials | None:
        """Read ``credentials.json`` where there is one that will do."""
        try:
            values = json.loads(self.credentials_file.read_text(encoding="utf-8"))
            known = Credentials(**{**values, "admin_users": tuple(values["admin_users"])})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        # A password that somebody shortened would stop the hub with a message about traits.
        long_enough = (
            isinstance(known.user_password, str)
            and isinstance(known.admin_password, str)
            and len(known.user_password) >= _USER_PASSWORD_LENGTH
            and len(known.admin_password) >= _ADMIN_PASSWORD_LENGTH
        )
        return known if long_enough else None

    def lock(self) -> StateLock:
        """Make this process the only one that runs a hub on this directory.

        A process that inherited the lock from the one that started it gets that one.

        Raises
        ------
        StateDirectoryBusy
            If another process holds the lock; names its pid.
        """
        inherited = self._inherited()
        fd = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600) if inherited is None else inherited
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise StateDirectoryBusy(
                f"Another hub (pid {owner or 'unknown'}) works on the state directory {self.path}; "
                "stop it, or set state_dir to another directory."
            ) from None
        lock = StateLock(fd)
        lock.name_owner(os.getpid())
        return lock

    def _inherited(self) -> int | None:
        """Find a descriptor of the lock file that is open in this process."""
        try:
            wanted = self.lock_file.stat()
        except FileNotFoundError:
            return None
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  names are wanted, not paths
            with contextlib.suppress(OSError):
                found = os.fstat(int(name))
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return int(name)
        return None


def _password(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _once(path: Path, text: str) -> str:
    """Write `text` unless the file is there; return what it holds, the same for all who race."""
    if not path.exists():
        with _written(path, text + "\n") as temporary, contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    return path.read_text(encoding="ascii").strip()


@contextlib.contextmanager
def _written(path: Path, text: str) -> Iterator[Path]:
    """Write a temporary file, mode 0600, beside `path`; whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
