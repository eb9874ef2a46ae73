"""The user's side of a GPU lease: asks the hub about it, tells open pages, reports what the kernels do.

Everything stays off, quietly, where there is no hub or the hub has no leases.

============== =======================================================================================
`lease_hub`    the hub's API for leases
`watch`        the loop that asks and reports at the pace which the hub gives
`gpu`          whether the container still reaches its GPUs, and the self-check of its start
`pages`        the open pages of JupyterLab, by WebSocket
`handlers`     REST for those pages and for the hub, below ``{base_url}berth/``
============== =======================================================================================
"""

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "berth_lab"}]


def _load_jupyter_server_extension(server: Any) -> None:
    from .handlers import add_handlers
    from .watch import Watch

    server.web_app.settings["berth_watch"] = watch = Watch.of(server)
    add_handlers(server.web_app, watch)


async def _start_jupyter_server_extension(server: Any) -> None:
    server.web_app.settings["berth_watch"].start()
