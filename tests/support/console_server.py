"""A console that browsers reach: a real server over a test's app."""

import contextlib
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from spawner.console.process import Server

from .waiting import eventually


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve on a free port; gives the address, without a slash at its end."""
    server = Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1),
        app.state.console,
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
