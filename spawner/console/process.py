"""Running the console in the foreground, started by the hub."""

import gc
import logging
import os
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from ..ledger import Ledger
from ..operations.desk import Desk
from ..settings import Settings
from ..state import StateDirectory
from .app import create_app
from .context import Console
from .exporters import Exporters
from .hub import Hub
from .keys import Keys
from .people import People
from .readings import Readings
from .rendering import Pages

_LOG = logging.getLogger("berth.console")
_PARENT_SECONDS = 2.0
_GARBAGE = 50_000, 20, 50  # a page makes thousands of short-lived objects, and hardly any cycles


def spare_collections() -> None:
    """Let the collector of garbage pass over what is there by now, and come less often: a pass takes 150 ms."""
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def make_console(settings: Settings, environment: "os._Environ[str] | dict[str, str]") -> Console:
    """Build the context from the settings and what the hub tells its services (``JUPYTERHUB_*``)."""
    state = StateDirectory(settings.state_dir)
    ledger = Ledger(state.ledger_url(settings.database_url))
    ledger.require_schema()
    desk = Desk(ledger, settings.limits.rules(), settings.leases.rules())
    prefix, base = environment["JUPYTERHUB_SERVICE_PREFIX"], environment.get("JUPYTERHUB_BASE_URL", "/")
    hub = Hub(
        environment["JUPYTERHUB_API_TOKEN"],
        environment["JUPYTERHUB_API_URL"],
        environment["JUPYTERHUB_CLIENT_ID"],
        prefix,
        base,
    )
    return Console(
        desk=desk,
        settings=settings,
        hub=hub,
        people=People(hub),
        pages=Pages(prefix, hub.path, desk.clock),
        keys=Keys(state.console_key),
        readings=Readings(desk.clock),
        prefix=prefix,
    )


class Server(uvicorn.Server):
    """A server that does not wait for those who look on."""

    def __init__(self, config: uvicorn.Config, console: Console) -> None:
        super().__init__(config)
        self._console = console

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._console.dismiss()
        await super().shutdown(sockets)


def run(settings: Settings, root: Path, hub_pid: int) -> None:
    """Serve until told to stop, or until the hub that started this is gone."""
    address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    console = make_console(settings, os.environ)
    server = Server(
        uvicorn.Config(
            create_app(console, root / "node_modules"),
            host=address.hostname or "127.0.0.1",
            port=address.port or 80,
            log_config=None,
            access_log=False,  # addresses tell who looked at whom
            server_header=False,
            timeout_graceful_shutdown=3,
        ),
        console,
    )

    def watch() -> None:
        # The next hub starts a console of its own.
        pause = threading.Event()
        while not pause.wait(_PARENT_SECONDS):
            if os.getppid() != hub_pid:
                _LOG.info("The hub is gone; so is its console.")
                server.should_exit = True
                return

    threading.Thread(target=watch, daemon=True, name="hub").start()
    exporters = Exporters(settings.metrics, console.readings, console.clock)
    exporters.start()
    spare_collections()
    server.run()
    exporters.close()
    console.desk.ledger.close()
