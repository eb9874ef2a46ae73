"""Calls with a key: carried out once, whatever comes twice or at once, and whatever breaks in between."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Body
from starlette.responses import Response

from spawner.console.callers import Caller, allowed
from spawner.console.problems import Problem
from spawner.console.scopes import Scope
from spawner.errors import LedgerUnavailable
from spawner.operations.calls import ABANDONED, KEPT

from ..support.console import OF_HUB_ADMINS, PREFIX, ConsoleStand, Visitor
from ..support.office import MS


class Things:
    """A route that makes things, and counts what it does."""

    def __init__(self, console: ConsoleStand) -> None:
        self.made: list[str] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

        @console.app.post(f"{PREFIX}api/v1/things", status_code=201)
        def make(
            caller: Annotated[Caller, allowed(Scope.SELF)],
            name: Annotated[str, Body(embed=True)],
            answer: Response,
        ) -> dict[str, Any]:
            self.before()
            self.made.append(name)
            answer.headers["ETag"] = f'"{len(self.made)}"'
            self.after()
            return {"name": name, "number": len(self.made), "by": caller.name}


@pytest.fixture
def things(console: ConsoleStand) -> Things:
    return Things(console)


def send(visitor: Visitor, key: str = "k-1", name: str = "ä🙂") -> httpx2.Response:
    answer: httpx2.Response = visitor.post("api/v1/things", json={"name": name}, headers={"Idempotency-Key": key})
    return answer


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_repeated_call_gets_the_first_ones_answer(console: ConsoleStand, things: Things) -> None:
    ann = console.as_user("ann")
    first = send(ann)
    assert (first.status_code, first.json()) == (201, {"name": "ä🙂", "number": 1, "by": "ann"})
    assert "Idempotency-Replayed" not in first.headers
    again = send(ann)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    for name in ("ETag", "Content-Type", "Content-Security-Policy"):
        assert again.headers[name] == first.headers[name]
    assert things.made == ["ä🙂"]
    assert send(ann, "k-2").json()["number"] == 2
    console.office.wait(KEPT + MS)
    assert send(ann).json()["number"] == 3


def test_a_key_is_of_one_call(console: ConsoleStand, things: Things) -> None:
    ann = console.as_user("ann")
    send(ann)
    assert code(send(ann, name="other")) == (422, "key_reused")
    assert code(ann.post("api/v1/nowhere", headers={"Idempotency-Key": "k-1"})) == (422, "key_reused")
    assert send(console.as_user("bob")).json()["by"] == "bob"
    assert send(console.as_service("ann", [Scope.SELF])).json()["by"] == "ann"
    assert len(things.made) == 3


def test_another_token_of_the_caller_will_do_unless_it_may_less(console: ConsoleStand, things: Things) -> None:
    send(console.as_user("olga", scopes=OF_HUB_ADMINS))
    assert send(console.as_user("olga", scopes=OF_HUB_ADMINS)).headers["Idempotency-Replayed"] == "true"
    assert code(send(console.as_user("olga"))) == (403, "scope_missing")
    assert len(things.made) == 1


def test_what_is_refused_leaves_its_key_free(console: ConsoleStand, things: Things) -> None:
    def refuse() -> None:
        raise Problem(409, "no_room", "Not now.")

    ann = console.as_user("ann")
    things.before = refuse
    assert code(send(ann)) == code(send(ann)) == (409, "no_room")
    assert send(ann, name="").status_code == 409
    assert ann.post("api/v1/things", headers={"Idempotency-Key": "k-1"}).status_code == 422
    assert code(send(console.as_user("eve", scopes=[]))) == (403, "scope_missing")
    assert code(send(console.anonymous())) == (401, "not_signed_in")
    assert code(send(console.with_token("guessed"))) == (401, "invalid_token")
    things.before = lambda: None
    assert send(ann).status_code == 201


def test_a_bug_does_not_hold_the_key(console: ConsoleStand, things: Things) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    ann = console.as_user("ann")
    things.before = fail
    assert code(send(ann)) == (500, "internal_error")
    things.before = lambda: None
    assert send(ann).status_code == 201


def test_of_many_at_once_one_is_carried_out(console: ConsoleStand, things: Things) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(20)

    things.before = wait
    visitors = [console.as_user("ann") for _ in range(6)]
    with ThreadPoolExecutor(len(visitors)) as pool:
        first = pool.submit(send, visitors[0])
        assert begun.wait(20)
        others = [answer.result() for answer in [pool.submit(send, visitor) for visitor in visitors[1:]]]
        go_on.set()
        assert first.result().status_code == 201
    for answer in others:
        assert code(answer) == (409, "call_under_way")
        assert int(answer.headers["Retry-After"]) > 0
    assert send(visitors[1]).headers["Idempotency-Replayed"] == "true"
    assert len(things.made) == 1


def test_a_console_that_died_in_between(console: ConsoleStand, things: Things) -> None:
    """Its call holds the key for a while, in which somebody can look what became of it; not for ever."""
    ledger = console.office.ledger

    def die() -> None:
        # As far as the ledger can tell: the answer is never written.
        ledger.transaction = _away  # type: ignore[method-assign]

    def _away() -> Any:
        raise LedgerUnavailable("The ledger is away.")

    ann = console.as_user("ann")
    things.after = die
    assert send(ann).status_code == 201  # what was done is told
    del ledger.transaction
    things.after = lambda: None
    assert code(send(ann)) == (409, "call_under_way")
    console.office.wait(ABANDONED)
    assert send(ann).json()["number"] == 2


def test_without_the_ledger_nothing_is_begun(console: ConsoleStand, things: Things) -> None:
    def away() -> Any:
        raise LedgerUnavailable("The ledger is away.")

    console.office.ledger.transaction = away  # type: ignore[method-assign]
    assert code(send(console.as_user("ann"))) == (503, "ledger_unavailable")
    assert things.made == []


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb", "schlüssel"])
def test_what_is_no_key(console: ConsoleStand, things: Things, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = console.as_user("ann").post("api/v1/things", json={"name": "x"}, headers=headers)
    assert code(answer) == (400, "invalid_key")
    assert things.made == []


def test_pages_and_reads_take_no_notice(console: ConsoleStand) -> None:
    headers = {"Idempotency-Key": "k-1"}
    assert console.as_user("ann").get("api/v1/me", headers=headers).status_code == 200
    with console.office.ledger.reading() as books:
        assert books.calls.get("user:ann", "k-1") is None


def test_openapi_tells_of_keys(console: ConsoleStand, things: Things) -> None:
    api = console.anonymous().get("api/v1/openapi.json").json()
    path = api["paths"][f"{PREFIX}api/v1/things"]["post"]
    assert {"$ref": "#/components/parameters/IdempotencyKey"} in path["parameters"]
    assert "Idempotency-Replayed" in path["responses"]["201"]["headers"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k-1"}])
def test_what_is_too_large_is_not_read(console: ConsoleStand, things: Things, headers: dict[str, str]) -> None:
    answer = console.as_user("ann").post("api/v1/things", json={"name": "x" * (9 << 20)}, headers=headers)
    assert code(answer) == (413, "too_large")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert things.made == []


def test_whoever_does_not_say_how_much_it_is(console: ConsoleStand, things: Things) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * (1 << 20)

    for headers, status in (({"Idempotency-Key": "k-1"}, 413), ({}, 400)):  # FastAPI cannot read it, and says so
        answer = console.as_user("ann").post(
            "api/v1/things", content=parts(), headers={"Content-Type": "application/json", **headers}
        )
        assert answer.status_code == status
    assert things.made == []
