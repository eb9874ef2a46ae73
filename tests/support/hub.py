"""A whole JupyterHub, with its proxy, as a fixture."""

import contextlib
import json
import secrets
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .npm import configurable_http_proxy
from .ports import free_ports
from .processes import process, wait_for_http

_CONFIG = """
import sys
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.default_url = "/hub/home"
c.JupyterHub.log_level = "DEBUG"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.services = [dict(name="tests", api_token={token!r})]
c.JupyterHub.load_roles = [
    dict(name="tests", services=["tests"], scopes=["admin:users", "admin:groups", "admin:servers"])
]
"""


@dataclass(frozen=True)
class Hub:
    """A hub that runs.

    Attributes
    ----------
    url
        Its address, without a slash at the end.
    log
        What it and its proxy wrote, at debug level.
    """

    url: str
    directory: Path
    log: Path
    token: str = field(repr=False)

    def api(self, path: str, method: str = "GET", body: object = None) -> Any:
        """Ask the hub's API as an admin; gives the parsed answer, or None where it is empty.

        Raises
        ------
        urllib.error.HTTPError
            If the hub refuses.
        """
        request = urllib.request.Request(
            f"{self.url}/hub/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def user(self, name: str) -> dict[str, Any] | None:
        """Get what the hub knows of a user, or None."""
        try:
            return dict(self.api(f"users/{name}"))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


@contextlib.contextmanager
def running_hub(
    directory: Path, config: str, *, port: int | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Hub]:
    """Run a hub with its state in `directory`, which may hold that of an earlier one.

    Parameters
    ----------
    config
        Python to add to the configuration, which has ``c``, sets ports and proxy, takes SimpleSpawner, and leaves
        the authenticator out.
    port
        To listen on; a free one if left out.
    """
    free = free_ports(3)
    port = port or free[0]
    token = secrets.token_hex(16)
    proxy = str(configurable_http_proxy())
    path = directory / "hub_config.py"
    path.write_text(
        _CONFIG.format(port=port, hub_port=free[1], proxy_port=free[2], proxy=proxy, token=token) + config,
        encoding="utf-8",
    )
    log = directory / "hub.log"
    program = shutil.which("jupyterhub", path=str(Path(sys.executable).parent)) or "jupyterhub"
    url = f"http://127.0.0.1:{port}"
    with process([program, "-f", path], log, cwd=directory, env=env) as started:
        wait_for_http(f"{url}/hub/health", started, log)
        yield Hub(url, directory, log, token)
