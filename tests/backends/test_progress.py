import asyncio

from spawner.backends.progress import Steps

from ..support.waiting import soon


async def _read(steps: Steps, into: list[dict[str, object]]) -> None:
    async for step in steps.follow():
        into.append(step)


async def test_readers_get_all_steps_whenever_they_come() -> None:
    steps = Steps()
    early: list[dict[str, object]] = []
    late: list[dict[str, object]] = []
    reading = [asyncio.ensure_future(_read(steps, early))]
    await asyncio.sleep(0)
    steps.add(10, "Pulling.")
    await soon(lambda: len(early) == 1)
    steps.add(50, "Created.")
    steps.add(60, "Started.")
    reading.append(asyncio.ensure_future(_read(steps, late)))
    await soon(lambda: len(early) == len(late) == 3)
    assert not any(reader.done() for reader in reading)
    steps.add(95, "Answers.")
    steps.finish()
    async with asyncio.timeout(5):
        await asyncio.gather(*reading)
    assert early == late
    assert late == [
        {"progress": 10, "message": "Pulling."},
        {"progress": 50, "message": "Created."},
        {"progress": 60, "message": "Started."},
        {"progress": 95, "message": "Answers."},
    ]


async def test_after_the_end_there_is_nothing_to_wait_for() -> None:
    steps = Steps()
    steps.finish()
    assert [step async for step in steps.follow()] == []


async def test_a_reader_that_leaves_disturbs_nobody() -> None:
    steps = Steps()
    read: list[dict[str, object]] = []
    leaver = asyncio.ensure_future(_read(steps, []))
    reader = asyncio.ensure_future(_read(steps, read))
    await asyncio.sleep(0)
    leaver.cancel()
    steps.add(50, "Created.")
    steps.finish()
    async with asyncio.timeout(5):
        await reader
    assert len(read) == 1
