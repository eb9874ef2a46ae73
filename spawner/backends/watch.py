"""From the end of a container to the spawner whose server it was, without waiting for a poll."""

import asyncio
import functools
import weakref
from typing import Any

from ..engine.client import Engine
from ..engine.view import EngineView

_WATCHED: "weakref.WeakValueDictionary[str, Any]" = weakref.WeakValueDictionary()


@functools.cache
def shared_view(engine: Engine, hub_id: str) -> EngineView:
    """Give the process's one view of a hub's containers; it follows already."""
    view = EngineView(engine, hub_id)
    view.start()
    return view


def watch(view: EngineView, container_id: str, spawner: Any) -> None:
    """Let `spawner` poll as soon as the container ends. Call it from the hub's event loop."""
    _WATCHED[container_id] = spawner
    _connect(view, asyncio.get_running_loop())


@functools.cache
def _connect(view: EngineView, loop: asyncio.AbstractEventLoop) -> None:
    def listener(container_id: str) -> None:
        loop.call_soon_threadsafe(_poll, container_id)

    view.listeners.append(listener)


def _poll(container_id: str) -> None:
    spawner = _WATCHED.pop(container_id, None)
    # A spawner that does not poll is starting or stopping, and sees the end by itself.
    if spawner is not None and spawner.object_id == container_id and spawner._poll_callback is not None:  # noqa: SLF001  JupyterHub has no other way to tell
        asyncio.ensure_future(spawner.poll_and_notify())  # noqa: RUF006  it logs its own errors
