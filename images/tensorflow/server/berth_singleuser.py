"""The single-user server of JupyterHub, started with a third of the work.

`berth-singleuser` runs the same classes as ``jupyterhub-singleuser``: JupyterHub's own authentication, Jupyter Server,
the same extensions and settings. What differs is when things are loaded:

- Modules that a start does not use are stood in for and loaded at their first use (`Deferred`): the hub's database
  layer, its HTTP client, a grammar for internationalised addresses that takes half a second to compile.
- Server extensions are loaded at the first request for one of their pages (`LazyExtensions`).
- The hub's version is compared after the server has begun to answer, not before.

If anything in this arrangement fails before the server listens, the stock program is started in its place.
"""

import gc
import os
import re
import sys

_SPEAK_AFTER = 2  # seconds


def main() -> None:
    """Start the server; fall back to the stock program if the arrangement does not fit the installed versions."""
    # Start-up makes many objects and drops few: collecting among them costs a tenth of the time and finds nothing.
    gc.disable()
    stock = "/opt/jupyter/bin/jupyterhub-singleuser"
    if os.environ.get("BERTH_STOCK_SINGLEUSER", "0") not in {"", "0"} or not _ordinary():
        os.execv(stock, [stock, *sys.argv[1:]])  # noqa: S606 -- a fixed program
    try:
        import berth_deferred

        berth_deferred.install()
        server = _server_class()
    except Exception as error:  # noqa: BLE001 -- a user without a server is worse than a slow start
        print(f"berth-singleuser: {error!r}; starting the stock server", file=sys.stderr, flush=True)
        os.execv(stock, [stock, *sys.argv[1:]])  # noqa: S606
    server.launch_instance()


def _ordinary() -> bool:
    """Tell whether this is the usual way to run; the stock program knows the unusual ones."""
    env = os.environ
    return (
        env.get("JUPYTERHUB_SINGLEUSER_EXTENSION", "1") not in {"", "0"}
        and env.get("JUPYTERHUB_SINGLEUSER_APP", "") in {"", "extension", "jupyter_server", "jupyter-server"}
        and not env.get("JUPYTERHUB_SSL_CERTFILE")  # internal TLS needs the hub's own HTTP client, with its options
    )


def _server_class():
    # jupyterhub.singleuser's own __init__ decides between two kinds of server and loads both; ours is known.
    from berth_deferred import stand_in

    stand_in("jupyterhub.singleuser.mixins", HubAuthenticatedHandler=None, make_singleuser_app=None)
    from berth_extensions import LazyExtensions
    from jupyter_server.serverapp import ServerApp
    from jupyterhub.singleuser.extension import JupyterHubSingleUser

    class Server(ServerApp):
        """Jupyter Server with lazily loaded extensions."""

        name = ServerApp.name

        def init_server_extensions(self) -> None:
            self.lazy = LazyExtensions(self)
            super().init_server_extensions()

        def load_server_extensions(self) -> None:
            super().load_server_extensions()
            self.lazy.attach()

        def start(self) -> None:
            # What was made until here stays for good: the collector need never look at it again.
            gc.freeze()
            gc.enable()
            # Speaks with the hub whether anyone looks at a page or not, but not before the server has answered.
            self.io_loop.call_later(_SPEAK_AFTER, self.lazy.load, "berth_lab")
            super().start()

    class SingleUser(JupyterHubSingleUser):
        """JupyterHub's extension, which asks for the hub's version once the server runs."""

        serverapp_class = Server

        @classmethod
        def get_extension_package(cls) -> str:
            return "jupyterhub"

        async def check_hub_version(self) -> None:
            self.serverapp.io_loop.add_callback(super().check_hub_version)

    # The extension is found by name through its package, which gives the stock class.
    import jupyterhub

    jupyterhub._jupyter_server_extension_points = lambda: [  # noqa: SLF001 -- this is the documented hook
        {"module": "jupyterhub", "app": SingleUser}
    ]
    os.environ.setdefault("JUPYTERHUB_DEFAULT_URL", "/lab")
    sys.argv[0] = re.sub(r"berth-singleuser$", "jupyterhub-singleuser", sys.argv[0])
    return SingleUser


if __name__ == "__main__":
    main()
