"""The user's side of a GPU lease and of a class: asks the hub, tells open pages, reports what the kernels do.

Everything stays off, quietly, where there is no hub or the hub has no leases.

============== =======================================================================================
`lease_hub`    the hub's API for leases and classes
`watch`        the loop that asks and reports at the pace which the hub gives
`gpu`          whether the container still reaches its GPUs, and the self-check of its start
`seat`         what a server does for its class: fetches what staff have sent, says who is there
`pushes`       a file that staff have sent, put into the home over nothing that is there
`materials`    the course's materials, put into the home and merged with its user's work
`pages`        the open pages of JupyterLab, by WebSocket
`visitors`     who else than its owner uses a server
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
    watch.visitors.watch(server.identity_provider)
    add_handlers(server.web_app, watch)


async def _start_jupyter_server_extension(server: Any) -> None:
    server.web_app.settings["berth_watch"].start()
