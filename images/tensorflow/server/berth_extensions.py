"""Server extensions that are loaded at the first request for one of their pages."""

import re
from typing import Any

from tornado.routing import Matcher, Rule

# Extension and the first part of its paths, below the server's base URL. The page of JupyterLab asks for most of the
# others at once; what nobody opens is never loaded.
_PATHS = {
    "berth_lab": r"berth/",
    "jupyter_resource_usage": r"api/metrics/|metrics",
    "jupyter_server_proxy": r"proxy/|server-proxy/",
    "jupyterlab": (
        r"$|lab|static/lab|custom/|api/(?:build|extensions|licenses|news|settings|themes|translations|workspaces)"
    ),
    "jupyterlab_git": r"git/",
    "nbdime": r"nbdime/",
    "nbgitpuller": r"git-pull|git-sync",
}

_TAKE_ALL = {"Template404", "TrailingSlashHandler"}


class LazyExtensions(Matcher):
    """A routing rule that matches nothing, but loads the extension to which a request would belong.

    A request for which the server has no page loads all extensions that are left: theirs it may be.

    Parameters
    ----------
    server
        The server application, before its extensions are initialised: those which can wait are taken out of its list.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        enabled = {name for name, on in server.jpserver_extensions.items() if on}
        self._waiting = {name: re.compile(pattern) for name, pattern in _PATHS.items() if name in enabled}
        server.jpserver_extensions = {
            name: on for name, on in server.jpserver_extensions.items() if name not in self._waiting
        }

    def attach(self) -> None:
        """Put the rule ahead of all others, once the server has its pages."""
        router = self._server.web_app.default_router
        # The last rule is the server's own pages. Two of them take every other path: to "not found", and to the
        # same path without its slash.
        rules = router.rules[-1].target.rules
        self._own = [rule.matcher.regex for rule in rules if rule.target.__name__ not in _TAKE_ALL]
        router.rules.insert(0, Rule(self, None))

    def load(self, name: str) -> None:
        """Load an extension now, unless a request has."""
        if name in self._waiting:
            self._load(name)

    def match(self, request: Any) -> None:
        """Load what the request needs; tornado then asks the rules behind this one, the new ones among them."""
        if not self._waiting or not request.path.startswith(self._server.base_url):
            return
        path = request.path[len(self._server.base_url) :]
        wanted = [name for name, pattern in self._waiting.items() if pattern.match(path)]
        if not wanted and not self._known(path):
            wanted = list(self._waiting)
        for name in wanted:
            self._load(name)

    def _known(self, path: str) -> bool:
        """Tell whether the server itself has a page at this path."""
        return any(regex.match(self._server.base_url + path) for regex in self._own)

    def _load(self, name: str) -> None:
        del self._waiting[name]
        manager = self._server.extension_manager
        if manager.add_extension(name, enabled=True):
            manager.link_extension(name)
            manager.load_extension(name)
            self._server.io_loop.add_callback(manager.start_extension, name)
