"""The start page: one's own servers, leases, quota and use."""

from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..callers import Caller, allowed
from ..context import Here
from ..scopes import Scope

router = APIRouter()


@router.get("/")
def show_mine(request: Request, here: Here, caller: Annotated[Caller, allowed(Scope.SELF_READ)]) -> Response:
    return here.pages.render(request, caller, "mine/home.html")
