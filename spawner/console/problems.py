"""What the console says when it cannot do something: ``application/problem+json`` (RFC 9457), or a page.

Every problem has ``type``, ``title``, ``status``, ``detail`` (a sentence or two for a person) and ``code`` (for
programs).
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from .. import errors
from ..errors import BerthError
from ..policy.model import Deny
from .context import console_of

MEDIA_TYPE = "application/problem+json"

# All others are conflicts with how things are: 409.
_STATUS: dict[type[BerthError], int] = {
    errors.UnknownName: 404,
    errors.QuotaChanged: 412,
    errors.QuotaInvalid: 422,
    errors.LedgerUnavailable: 503,
    errors.LedgerOutdated: 503,
    errors.HubNotReady: 503,
}
_RETRY_SECONDS = 5


class ProblemModel(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Always `about:blank`; `code` tells.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong and what to do, for a person.")
    code: str = Field(description="Machine-readable, stable.")


class Problem(Exception):
    """An answer that says no.

    Parameters
    ----------
    code
        Machine-readable, lower case with underscores.
    detail
        A sentence or two for a person.
    extra
        Further fields of the answer; anything that JSON can say.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers, self.extra = headers or {}, extra

    @property
    def body(self) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }


def refused(deny: Deny) -> Problem:
    """Tell what the policy refuses."""
    return Problem(409, deny.code, deny.reason)


def problem_of(error: BerthError) -> Problem:
    """Tell of one of our errors."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 409)
    if isinstance(error, errors.HubRefused) and error.status in {403, 404}:
        status = error.status
    headers = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else {}
    more = {"reason": error.reason} if isinstance(error, errors.HubRefused) and error.reason else {}
    return Problem(status, error.code, str(error), headers, **more)


# Of routes in OpenAPI, by status.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, words in {
        400: "The request cannot be read.",
        401: "Nobody is signed in, and there is no valid token.",
        403: "The scope is missing.",
        404: "There is no such thing.",
        409: "It is refused as things are.",
        422: "A value is wrong.",
        503: "The hub or the ledger does not answer.",
    }.items()
}


def install(app: FastAPI) -> None:
    """Let an app answer with problems."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return answer(request, error)

    @app.exception_handler(BerthError)
    async def _berth_error(request: Request, error: BerthError) -> Response:
        return answer(request, problem_of(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        found = [{"where": ".".join(map(str, one["loc"])), "what": str(one["msg"])} for one in error.errors()]
        detail = "; ".join(f"{one['where']}: {one['what']}" for one in found)[:1000]
        return answer(request, Problem(422, "invalid_request", detail, errors=found))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        code = {404: "unknown_path", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        headers = dict(error.headers or {})
        return answer(request, Problem(error.status_code, code, str(error.detail), headers))

    @app.exception_handler(Exception)
    async def _bug(request: Request, _error: Exception) -> Response:
        # Starlette logs it, too; what went wrong within is not for the reader.
        return answer(request, Problem(500, "internal_error", "Something went wrong here. The console's log has more."))


def answer(request: Request, problem: Problem) -> Response:
    """Answer with a problem: as JSON below ``api/``, else as a page."""
    here = console_of(request)
    if request.url.path.startswith(f"{here.prefix}api/"):
        return JSONResponse(problem.body, problem.status, problem.headers, MEDIA_TYPE)
    return here.pages.problem(request, problem.status, problem.code, problem.detail, problem.headers)
