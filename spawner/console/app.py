"""The web application."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope as AsgiScope

from . import problems, repeats, signin
from .api import api_router
from .bodies import BodyLimit
from .context import Console
from .headers import SafeHeaders
from .menu import links_for
from .pages import pages_router
from .rendering import STATIC

VERSION = "1.0.0"
_KEPT = "public, max-age=31536000, immutable"
# From npm, by the lock file: the names under `static/vendor/`, and where they lie below `node_modules`.
VENDOR = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "sse.min.js": "htmx-ext-sse/dist/sse.min.js",
}


class _Static(StaticFiles):
    """Files whose address changes with what they hold, so that browsers keep them for ever."""

    def file_response(
        self, full_path: object, stat_result: object, scope: AsgiScope, status_code: int = 200
    ) -> Response:
        answer = super().file_response(full_path, stat_result, scope, status_code)  # type: ignore[arg-type]
        answer.headers["Cache-Control"] = _KEPT
        return answer


def create_app(console: Console, vendor: Path) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    vendor
        The directory ``node_modules``.
    """
    base = console.prefix.rstrip("/")
    app = FastAPI(
        title="Berth",
        version=VERSION,
        summary="GPU leases, quotas, queue, use, homes and audit of a Berth deployment.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url=f"{base}/api/v1/openapi.json",
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.console = console
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    console.pages.add_globals(menu=links_for)
    app.add_middleware(repeats.Repeats, console=console)
    app.add_middleware(BodyLimit, console=console)
    app.add_middleware(SafeHeaders)
    problems.install(app)
    signin.install(app)
    app.include_router(signin.router, prefix=base)
    app.include_router(api_router(), prefix=base)
    app.include_router(pages_router(), prefix=base)
    for name, path in VENDOR.items():
        _serve_vendor(app, f"{base}/static/vendor/{name}", vendor / path)
    app.mount(f"{base}/static", _Static(directory=STATIC), name="static")
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API, once; problems are declared by name, for they are no route's model."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        found["components"]["schemas"]["Problem"] = problems.ProblemModel.model_json_schema()
        _summarise(found)
        repeats.describe(found)
        app.openapi_schema = found
    return app.openapi_schema


def _summarise(api: dict[str, Any]) -> None:
    """Let the first paragraph of each operation's text be its summary; FastAPI takes the function's name."""
    for operations in api["paths"].values():
        for operation in operations.values():
            summary, _, rest = operation.pop("description", "").partition("\n\n")
            operation["summary"] = " ".join(summary.split()).removesuffix(".")
            if rest:
                operation["description"] = rest


def _serve_vendor(app: FastAPI, route: str, path: Path) -> None:
    @app.get(route, include_in_schema=False)
    def vendored() -> Response:
        return FileResponse(path, media_type="text/javascript", headers={"Cache-Control": "public, max-age=86400"})
