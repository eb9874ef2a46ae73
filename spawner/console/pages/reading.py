"""How pages are read: in which language."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import RedirectResponse, Response

from ..context import Here
from ..languages import catalogues
from ..problems import Problem
from ..rendering import LANGUAGE_COOKIE

router = APIRouter()
_YEAR = 365 * 86_400


@router.get("/language/{code}")
def choose_language(
    code: str, here: Here, asked: Annotated[str, Query(alias="next", max_length=2000)] = ""
) -> Response:
    """Show pages in another language from now on."""
    if code not in catalogues():
        raise Problem(404, "unknown_language", f"There are: {', '.join(catalogues())}.")
    answer = RedirectResponse(asked if asked.startswith(here.prefix) else here.prefix, 303)
    answer.set_cookie(LANGUAGE_COOKIE, code, max_age=_YEAR, path=here.prefix, samesite="lax")
    return answer
