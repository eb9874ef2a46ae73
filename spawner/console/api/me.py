"""Who one is, and what one may."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ..callers import Caller, allowed

router = APIRouter(tags=["me"])


class Me(BaseModel):
    """The caller."""

    name: str = Field(description="Of the user or service.")
    kind: Literal["user", "service"]
    groups: list[str] = Field(description="At the hub; empty for a service.")
    scopes: list[str] = Field(description="What this token may, of the console's own scopes.")


@router.get("/me")
def read_me(caller: Annotated[Caller, allowed()]) -> Me:
    """Tell who calls, and what this token may."""
    scopes = sorted(scope for scope in caller.scopes if scope.startswith("custom:berth:"))
    return Me(
        name=caller.name,
        kind="service" if caller.kind == "service" else "user",
        groups=sorted(caller.groups),
        scopes=scopes,
    )
