"""Who is let in where: every route of the API and every page, as everybody."""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx2
import pytest

from spawner.console.callers import FORM_FIELD
from spawner.ledger import Ledger

from ..support.console import ConsoleStand, Visitor, open_console
from ..support.console_routes import Called, example_body, routes_of
from ..support.console_world import ANN, COURSE, OTHERS, World, populate
from ..support.ledgers import copied
from ..support.office import Office
from .access import ACCESS, NOBODY, ROLES, Access, Role

_UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = copied(sqlite_template, tmp_path_factory.mktemp("access"))
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:
        yield populate(stand)
    ledger.close()


@contextmanager
def untouched(world: World) -> Iterator[None]:
    """Put the ledger back as it was."""
    office = world.console.office
    path = Path(office.place.url.removeprefix("sqlite:///"))
    office.ledger.close()
    kept = path.with_suffix(".kept")
    shutil.copy(path, kept)
    try:
        yield
    finally:
        office.ledger.close()
        for more in ("-wal", "-shm"):
            path.with_name(path.name + more).unlink(missing_ok=True)
        shutil.copy(kept, path)


def values(world: World, *, own: bool) -> Mapping[str, str]:
    """Give each name of a parameter in a path a value: of Ann's things, or of another's."""
    user = ANN if own else OTHERS[0]
    return {
        "code": "de",
        "name": user,
        "user": user,
        "username": user,
        "lease_id": world.lease if own else world.other_lease,
        "ticket_id": world.ticket if own else world.other_ticket,
        "volume": "berth-home-ann" if own else "berth-home-1",
        "gpu": world.gpu,
        "course": COURSE,
        "session": world.session,
        "collected": world.collected,
        "link": world.link,
        "token": world.token,
        "server": "lab",
        "subject": "user",
        "dimension": "gpus",
        "verb": "archive" if own else "delete",
    }


def visitor(console: ConsoleStand, role: Role, *, api: bool) -> Visitor:
    if role.held is None:
        return console.anonymous()
    if api and role.kind == "service":
        return console.as_service(role.name, role.held)
    return (console.as_user if api else console.signed_in)(role.name, scopes=role.held)


# Bodies and queries that a route wants before it looks whose things it is about, beyond what its description tells.
BODIES: dict[str, Mapping[str, Any]] = {}
QUERIES: dict[str, Mapping[str, str]] = {
    "GET gpus/change": {"state": "draining", "node": "local"},
    "GET gpus/{gpu}/change": {"state": "draining"},
    "GET courses/{course}/sessions/{session}/board/do": {"action": "stop", "user": ANN},
}


def call(world: World, called: Called, somebody: Visitor, *, own: bool, csrf: bool = True) -> httpx2.Response:
    path = called.at(values(world, own=own))
    options: dict[str, Any] = {"follow_redirects": False, "headers": {"If-Match": "*"}}
    options["params"] = QUERIES.get(str(called))
    if called.method in _UNSAFE:
        if called.in_api:
            options["json"] = BODIES.get(str(called), example_body(world.console.app, called))
        else:
            options["data"] = {**({FORM_FIELD: somebody.form_token} if csrf else {}), **BODIES.get(str(called), {})}
    answer: httpx2.Response = somebody.request(called.method, path, **options)
    return answer


def writes(world: World) -> int:
    """Count the transactions that have written."""
    connection = sqlite3.connect(world.console.office.place.url.removeprefix("sqlite:///"))
    try:
        return int(connection.execute("SELECT changes FROM pool").fetchone()[0])
    finally:
        connection.close()


def let_in(answer: httpx2.Response) -> bool:
    """Tell whether somebody was let in, whatever came of it."""
    to_hub = answer.status_code == 302 and "/hub/api/oauth2/authorize" in answer.headers["Location"]
    return answer.status_code not in {401, 403} and not to_hub


def test_every_route_has_its_line(world: World) -> None:
    there = {str(called) for called in routes_of(world.console.app)}
    assert sorted(there - ACCESS.keys()) == [], "Say in tests/console/access.py who may call these."
    assert sorted(ACCESS.keys() - there) == [], "There are no such routes any more."


def test_everybody_everywhere(world: World) -> None:
    """A list of all that is not as it is to be, for one fault is often one of many."""
    wrong = []
    with ExitStack() as opened:
        # Services have no browser.
        calling = {
            (role, api): opened.enter_context(visitor(world.console, role, api=api))
            for role in ROLES
            for api in (True, False)
            if api or role.kind == "user"
        }
        for called in routes_of(world.console.app):
            access = ACCESS[str(called)]
            with untouched(world) if called.method in _UNSAFE else nullcontext():
                for (role, api), somebody in calling.items():
                    if api == called.in_api:
                        wrong += _at(world, called, access, role, somebody)
    assert not wrong, "\n".join(wrong)


def _at(world: World, called: Called, access: Access, role: Role, somebody: Visitor) -> list[str]:
    wrong = []
    for own in (True, False) if access.owned else (True,):
        expected = role.may(access, own=own and role.name == ANN and role.kind == "user")
        if expected and access.endless:
            continue
        before = writes(world) if called.method in _UNSAFE and not expected else None
        answer = call(world, called, somebody, own=own)
        whose = "" if not access.owned else " of one's own" if own and role.name == ANN else " of another"
        told = f"{called}{whose}, by {role.title}: {answer.status_code} {answer.text[:200] if called.in_api else ''}"
        # To whom a thing is not shown, it may seem not to be there.
        hidden = (access.owned or (access.course and not role.course)) and answer.status_code == 404
        if answer.status_code >= 500 or (let_in(answer) != expected and not (hidden and not expected)):
            wrong.append(told)
        if called.in_api and role.held is None and not expected and answer.status_code != 401:
            wrong.append(told)
        nobodys = access.anyone or access.others == NOBODY or called.path.startswith("mine/")
        if called.method == "GET" and role.name == "olga" and not nobodys and answer.status_code >= 400:
            wrong.append(told)  # so that what is asked for exists
        if before is not None and writes(world) != before:
            wrong.append(f"{told} has written")
    return wrong


def test_every_form_carries_its_token(world: World) -> None:
    """What another site sends in the name of somebody who is signed in does nothing."""
    somebody = world.admin_in_browser()
    before = world.console.office.tables()
    for called in routes_of(world.console.app):
        if called.method in _UNSAFE:
            answer = call(world, called, somebody, own=False, csrf=False)
            assert (answer.status_code, "form_expired" in answer.text) == (403, True), str(called)
    assert world.console.office.tables() == before


def test_roles_differ() -> None:
    """So that a route that forgets its scope is noticed: somebody is kept out by each."""
    for called, access in ACCESS.items():
        allowed = [role.title for role in ROLES if role.may(access, own=True)]
        assert access.anyone or len(allowed) < len(ROLES), called
