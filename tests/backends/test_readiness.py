import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from spawner.backends.readiness import wait_until_ready

from ..support.ports import free_ports
from ..support.waiting import soon


@asynccontextmanager
async def server(port: int, answer: Callable[[int], bytes]) -> AsyncIterator[list[bytes]]:
    """Answer requests with what `answer` gives for the first, the second and so on; empty hangs up."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # only looked whether somebody listens
            writer.close()
            return
        seen.append(head.splitlines()[0])
        writer.write(answer(len(seen)))
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", port)
    async with listening:
        yield seen


def status(code: int) -> bytes:
    return f"HTTP/1.1 {code} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize("code", [200, 204, 302, 403, 404, 405])
async def test_any_answer_of_the_server_itself_will_do(code: int) -> None:
    (port,) = free_ports(1)
    async with server(port, lambda _: status(code)) as seen:
        assert await wait_until_ready(f"http://127.0.0.1:{port}/user/ann/api", lambda: False, 10)
    assert seen == [b"GET /user/ann/api HTTP/1.1"]


async def test_errors_hang_ups_and_nonsense_are_waited_out() -> None:
    (port,) = free_ports(1)
    answers = [status(500), status(503), b"", b"what?\r\n\r\n", status(200)]
    async with server(port, lambda count: answers[count - 1]) as seen:
        assert await wait_until_ready(f"http://127.0.0.1:{port}/api", lambda: False, 20)
    assert len(seen) == len(answers)


async def test_a_server_that_comes_up_later() -> None:
    (port,) = free_ports(1)
    asked = 0

    def has_ended() -> bool:
        nonlocal asked
        asked += 1
        return False

    waiting = asyncio.ensure_future(wait_until_ready(f"http://127.0.0.1:{port}/api", has_ended, 20))
    await soon(lambda: asked >= 3)
    assert not waiting.done()
    async with server(port, lambda _: status(200)):
        assert await waiting


async def test_a_container_that_ended_is_not_waited_for() -> None:
    (port,) = free_ports(1)
    rounds = iter([False, False, True])
    assert not await wait_until_ready(f"http://127.0.0.1:{port}/api", lambda: next(rounds), 20)


async def test_patience_has_an_end() -> None:
    (port,) = free_ports(1)
    with pytest.raises(TimeoutError):
        await wait_until_ready(f"http://127.0.0.1:{port}/api", lambda: False, 0.1)


async def test_cancelled_just_as_the_connection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        asyncio.get_running_loop().call_soon(waiting.cancel)
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    looks = 0

    def ended() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3

    waiting = asyncio.create_task(wait_until_ready("http://127.0.0.1:1/api", ended, 20))
    with pytest.raises(asyncio.CancelledError):
        await waiting
