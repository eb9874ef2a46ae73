"""Modules that are loaded at their first use instead of at import."""

import importlib
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

# `import X` at the top of a module that a start needs, where X itself is used later or never.
_LATER = ("aiohttp", "alembic", "git", "httpx", "jupyterhub.orm", "requests")

_lock = threading.RLock()


class Deferred(ModuleType):
    """Stands in for a module in `sys.modules`, with a few names of its own, until another name is asked for."""

    __path__: list[str] = []  # noqa: RUF012 -- what the import system reads on a package

    def __getattr__(self, name: str) -> Any:
        if name in {"__file__", "__loader__", "__spec__", "__wrapped__"}:  # the import system and inspect probe these
            raise AttributeError(name)
        return getattr(load(self), name)


def load(module: Deferred) -> ModuleType:
    """Import what the stand-in stands for; whoever holds the stand-in sees the module's names from now on."""
    with _lock:
        name = module.__name__
        if sys.modules.get(name) is module:
            del sys.modules[name]
            try:
                real = importlib.import_module(name)
            except BaseException:
                sys.modules[name] = module
                raise
            for key, value in vars(real).items():
                if not key.startswith("__") or key in {"__version__", "__all__", "__path__"}:
                    module.__dict__[key] = value
        return sys.modules[name]


class _SubmoduleFinder:
    """Loads a stand-in's package before any of its submodules."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG004
        parent = sys.modules.get(name.rpartition(".")[0])
        if isinstance(parent, Deferred):
            return PathFinder.find_spec(name, load(parent).__path__)
        return None


def stand_in(module: str, **names: Any) -> None:
    """Put a stand-in for `module` in place, which knows `names` without loading it."""
    if module not in sys.modules:
        sys.modules[module] = Deferred(module)
        sys.modules[module].__dict__.update(names)


def install() -> None:
    """Put all stand-ins in place, before anything else is imported."""
    sys.meta_path.insert(0, _SubmoduleFinder)
    for name in _LATER:
        stand_in(name)
    # jsonschema's check of internationalised addresses; compiling its 38 grammars takes half a second.
    stand_in("rfc3987_syntax", is_valid_syntax=_later("rfc3987_syntax", "is_valid_syntax"))
    stand_in("rfc3986_validator", validate_rfc3986=_later("rfc3986_validator", "validate_rfc3986"))
    # The hub's code takes these by name, for its database, which is not in a user's server.
    stand_in("sqlalchemy", func=None)
    stand_in("sqlalchemy.exc", SQLAlchemyError=type("SQLAlchemyError", (Exception,), {}))
    # The log function asks whether a page is the hub's health check. A user's server has none.
    stand_in("jupyterhub.handlers")
    stand_in("jupyterhub.handlers.pages", HealthCheckHandler=type("HealthCheckHandler", (), {}))
    stand_in("jupyterhub.metrics", prometheus_log_method=lambda _handler: None)
    stand_in("jupyterhub.httpclient", fetch=_fetch)


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function which loads its module when it is called."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(_loaded(module), name)(*arguments, **options)

    return call


def _loaded(name: str) -> ModuleType:
    found = sys.modules[name]
    return load(found) if isinstance(found, Deferred) else found


class _Response:
    """As much of aiohttp's response as JupyterHub's single-user server reads."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.code
        self.headers = response.headers
        self._body: bytes = response.body or b""

    async def text(self) -> str:
        return self._body.decode()


async def _fetch(
    url: str, *, method: str = "GET", raise_for_status: bool = True, headers: Any = None, data: Any = None, **more: Any
) -> Any:
    """Ask the hub by tornado's client, which is loaded already, in place of aiohttp's, which costs 0.1 s of CPU.

    What it cannot do (Unix sockets, the hub's internal TLS) goes to the real one.
    """
    if more or not url.startswith(("http://", "https://")):
        return await _loaded("jupyterhub.httpclient").fetch(
            url, method=method, raise_for_status=raise_for_status, headers=headers, data=data, **more
        )
    from tornado.httpclient import AsyncHTTPClient

    if data is None and method in {"POST", "PUT", "PATCH"}:
        data = b""
    if isinstance(data, dict):
        data = urlencode(data)
    response = await AsyncHTTPClient().fetch(
        url, method=method, headers=headers, body=data, raise_error=False, follow_redirects=True, request_timeout=60
    )
    if response.code == 599 or (raise_for_status and response.code >= 400):
        response.rethrow()
    return _Response(response)
