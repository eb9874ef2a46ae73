"""One deployment: where its code lies, its settings, its state."""

import hashlib
import hmac
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import docker
from pydantic import SecretStr

from ..engine.client import engine_errors
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
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.bind_address, self.settings.bind_address)  # noqa: S104  compared, not bound
        return f"http://{_host(host)}:{self.settings.port}"

    @cached_property
    def image(self) -> str:
        """The image of users' servers: as set; left to us, the flavour that suits the machine."""
        return GPU_IMAGE if self.settings.image == DEFAULT_IMAGE and has_gpus() else self.settings.image

    @property
    def all_images(self) -> tuple[str, ...]:
        """Every image that a profile may start, without repetition."""
        return tuple(dict.fromkeys([profile.image or self.image for profile in self.settings.profiles]))

    def fingerprint(self) -> str:
        """Give a value that differs when the settings do; it does not tell what they are."""
        values = {**self.settings.model_dump(), "image": self.image}
        text = json.dumps(values, default=_revealed, sort_keys=True)
        return hmac.new(self.state.crypt_key.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


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
