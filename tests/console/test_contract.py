"""The REST API keeps to its description, whatever it is sent, and tells nobody what is not theirs.

Requests are made from the description by schemathesis: valid ones and others, about things that exist and things that
do not. The seed is fixed.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.responses import JSONResponse

from spawner.console.scopes import OF_PEOPLE, Scope
from spawner.ledger import Ledger

from ..support.console import OF_HUB_ADMINS, PREFIX, Visitor, open_console
from ..support.console_world import ANN, COURSE, HOSTILE, OTHER_COURSE, OTHERS, World, populate
from ..support.ledgers import copied
from ..support.office import Office
from .access import ACCESS, Access
from .test_access import untouched

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
WITH = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
ROLES = {
    "nobody": None,
    "a user": (ANN, OF_PEOPLE),
    "an instructor": ("ines", (*OF_PEOPLE, Scope.TEACH)),
    "an admin": ("olga", tuple(OF_HUB_ADMINS)),
}
# Requests of each operation; CONTRACT_EXAMPLES=100 makes them more.
EXAMPLES = {"nobody": 2, "a user": 8, "an instructor": 3, "an admin": 6}


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = copied(sqlite_template, tmp_path_factory.mktemp("contract"))
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:
        yield populate(stand)
    ledger.close()


def things(world: World) -> Mapping[str, list[str]]:
    """Give, by the names of parameters, values of things that exist."""
    users = [ANN, *OTHERS, HOSTILE[0], HOSTILE[-1], "olga"]
    return {
        **dict.fromkeys(("name", "user", "username", "owner", "actor", "search"), users),
        "lease_id": [world.lease, world.other_lease, world.closed],
        "ticket_id": [world.ticket, world.other_ticket],
        "volume": ["berth-home-ann", "berth-home-1", "berth-home-3"],
        "gpu": ["SIM-local-0", "SIM-local-6", "SIM-node-b-3", "gpu0"],
        "subject": ["default", "group", "user"],
        "dimension": ["gpus", "gpu_hours", "priority"],
        "group": ["physics"],
        "course": [COURSE, OTHER_COURSE],
        "session": [world.session],
        "collected": [world.collected],
        "link": [world.link],
    }


@st.composite
def calls(draw: st.DrawFn, operation: Any, known: Mapping[str, list[str]]) -> Case[Any]:
    """Make a request; mostly about things that exist."""
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    try:
        case: Case[Any] = draw(operation.as_strategy(generation_mode=mode))
    except Exception as error:  # of a route that takes nothing, nothing can be wrong
        if mode is GenerationMode.POSITIVE or "Unsatisfiable" not in type(error).__name__:
            raise
        case = draw(operation.as_strategy())
    for values in (case.path_parameters, case.query):
        for name in list(values or ()):
            if name in known and draw(st.integers(0, 3)):
                values[name] = draw(st.sampled_from(known[name]))
    if "If-Match" in (case.headers or {}) and draw(st.booleans()):
        case.headers["If-Match"] = "*"
    return case


def sender(world: World, role: str) -> Visitor:
    held = ROLES[role]
    return world.console.anonymous() if held is None else world.console.as_user(held[0], scopes=held[1])


def told_too_much(world: World, answer: httpx2.Response) -> set[str]:
    """List what an answer to somebody who may see their own only tells of others.

    Where nothing is done, a problem may repeat what was asked for.
    """
    found = {secret for secret in world.secrets if secret in answer.text}
    if answer.is_success:
        return found
    asked = httpx2.URL(answer.request.url)
    said = f"{asked.path}?{asked.params} {answer.request.content.decode('utf-8', 'replace')}"
    return {secret for secret in found if secret not in said}


def _try(world: World, role: str, somebody: Visitor, cases: st.SearchStrategy[Case[Any]]) -> None:
    @settings(WITH, max_examples=int(os.environ.get("CONTRACT_EXAMPLES", EXAMPLES[role])))
    @given(case=cases)
    def run(case: Case[Any]) -> None:
        sent = case.as_transport_kwargs(base_url="http://console.test")
        sent.pop("cookies", None)
        answer = somebody.request(**sent, follow_redirects=False)
        case.validate_response(answer, checks=CHECKS)
        if role == "nobody":
            assert answer.status_code in {401, 404} or answer.json()["code"] == "invalid_request", answer.text
        elif role != "an admin":
            assert told_too_much(world, answer) == set(), answer.text

    run()


def faults(world: World, role: str, only: str = "") -> dict[str, str]:
    """Try all operations in a role; gives what is wrong with each."""
    known = things(world)
    found: dict[str, str] = {}
    api = json.loads(json.dumps(world.console.app.openapi()))
    with sender(world, role) as somebody:
        for result in schemathesis.openapi.from_dict(api).get_all_operations():
            assert isinstance(result, Ok), result.err()
            operation = result.ok()
            label = f"{operation.method.upper()} {operation.path.removeprefix(PREFIX)}"
            if not label.endswith(only) or (role != "nobody" and ACCESS.get(label, Access()).endless):
                continue
            with untouched(world) if operation.method != "get" else nullcontext():
                try:
                    _try(world, role, somebody, calls(operation, known))
                except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  all are told at the end
                    found[label] = "\n".join([str(error), *getattr(error, "__notes__", ())])[:2000]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_the_api_keeps_its_word(world: World, role: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schemathesis's own
        found = faults(world, role)
    assert not found, "\n\n".join(f"{label}\n{told}" for label, told in found.items())


class _Thing(BaseModel):
    name: str


@pytest.mark.parametrize("fault", ["bug", "undocumented", "not the model", "tells too much"])
def test_faults_are_found(sqlite_template: Path, tmp_path: Path, fault: str) -> None:
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:

        @stand.app.get(f"{PREFIX}api/v1/broken", response_model=_Thing)
        def broken() -> Any:
            match fault:
                case "bug":
                    raise ZeroDivisionError
                case "undocumented":
                    return JSONResponse({}, 418)
                case "not the model":
                    return JSONResponse({"name": 1})
            return {"name": OTHERS[1]}

        assert faults(populate(stand), "a user", "/broken")
    ledger.close()
