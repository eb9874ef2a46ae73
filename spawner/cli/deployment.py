"""One deployment: where its code lies, its settings, its state."""

import hashlib
import hmac
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import click
import docker
from pydantic import SecretStr

from ..engine.client import engine_errors
from ..errors import LedgerOutdated, LedgerUnavailable
from ..ledger import Ledger
from ..ledger.connect import parse
from ..operations.desk import Desk
from ..settings import DEFAULT_IMAGE, Settings
from ..settings_file import load_settings
from ..state import StateDirectory

# This file is ROOT/spawner/cli/deployment.py.
ROOT = Path(__file__).resolve().parents[2]
GPU_IMAGE = DEFAULT_IMAGE.replace("-cpu", "-gpu")
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_NVIDIA_TOOLS = ("nvidia-container-runtime-hook", "nvidia-cdi-hook")


@dataclass(frozen=True)
class Deployment:
    """What every command starts from.

    Attributes
    ----------
    root
        The clone: jupyterhub_config.py, images/ and node_modules/ lie there.
    """

    root: Path
    settings: Settings

    @classmethod
    def load(cls) -> Self:
        """Read the settings.

        Raises
        ------
        SettingsInvalid
            See `load_settings`.
        """
        return cls(ROOT, load_settings(ROOT))

    @property
    def state(self) -> StateDirectory:
        return StateDirectory(self.settings.state_dir)

    @property
    def url(self) -> str:
        """The address for people."""
        return self.settings.public_url or f"http://{_host(self.settings.bind_address)}:{self.settings.port}"

    @property
    def local_url(self) -> str:
        """The address of the proxy as seen on this machine."""
        return f"http://{local_host(self.settings.bind_address)}:{self.settings.port}"

    @cached_property
    def image(self) -> str:
        """The image of users' servers: as set; left to us, the flavour that suits the machine."""
        return GPU_IMAGE if self.settings.image == DEFAULT_IMAGE and has_gpus() else self.settings.image

    @property
    def all_images(self) -> tuple[str, ...]:
        """Every image that a profile may start, without repetition."""
        return tuple(dict.fromkeys([profile.image or self.image for profile in self.settings.profiles]))

    @property
    def ledger_url(self) -> str:
        """The address of the ledger's database; there may be a password in it."""
        return self.state.ledger_url(self.settings.database_url)

    def desk(self) -> Desk:
        """Open the ledger, for the length of the command; never makes one.

        Raises
        ------
        LedgerOutdated
            If there is none yet, or it has another schema; says what cures it.
        LedgerUnavailable
            If it does not answer.
        """
        _require_file(self.ledger_url)
        ledger = Ledger(self.ledger_url)
        command = click.get_current_context(silent=True)
        if command is not None:
            command.call_on_close(ledger.close)
        ledger.require_schema()
        return Desk(ledger, self.settings.limits.rules(), self.settings.leases.rules())

    def fingerprint(self) -> str:
        """Give a value that differs when the settings do; it does not tell what they are."""
        values = {**self.settings.model_dump(), "image": self.image}
        text = json.dumps(values, default=_revealed, sort_keys=True)
        return hmac.new(self.state.crypt_key.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def _require_file(ledger_url: str) -> None:
    place = parse(ledger_url)
    if place.get_backend_name() != "sqlite":
        return
    path = Path(str(place.database))
    try:
        path.stat()
    except FileNotFoundError:
        raise LedgerOutdated(
            f"There is no ledger at {path}: `make up` has not run yet, which makes it. "
            "`berth db upgrade` makes an empty one."
        ) from None
    except OSError as error:
        raise LedgerUnavailable(
            f"The ledger {path} cannot be opened: {error.strerror}. Run this as the user who runs the hub."
        ) from None


def local_host(address: str) -> str:
    """Give the host, as URLs have it, under which this machine reaches what listens at `address`."""
    return _host({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address))  # noqa: S104  compared, not bound


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def has_gpus() -> bool:
    """Tell whether this machine has an NVIDIA driver and what brings its GPUs into containers."""
    return _NVIDIA_DRIVER.exists() and any(shutil.which(tool) for tool in _NVIDIA_TOOLS)


def connect(timeout: int = 60) -> docker.APIClient:
    """Connect to the engine.

    Raises
    ------
    EngineUnavailable
        If none answers.
    """
    with engine_errors():
        return docker.APIClient(version="auto", timeout=timeout, **docker.utils.kwargs_from_env())


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
