"""The hub's one way to the ledger: a desk per database, and threads in which its operations run."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ..ledger import Ledger
from ..operations.desk import Desk
from ..settings import LeaseSettings, LimitSettings

P = ParamSpec("P")
T = TypeVar("T")

# Writers wait for each other in the database; more threads only wait there.
_THREADS = 8


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger")


_DESKS: dict[tuple[str, str, str], Desk] = {}


def shared_desk(url: str, limits: LimitSettings, leases: LeaseSettings) -> Desk:
    """Give the process's one desk for a ledger and these rules."""
    key = (url, limits.model_dump_json(), leases.model_dump_json())
    if key not in _DESKS:
        _DESKS[key] = Desk(Ledger(url), limits.rules(), leases.rules())
    return _DESKS[key]


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an operation in a thread of the ledger's, so that the hub's event loop never waits for a database."""
    loop = asyncio.get_running_loop()
    call: Any = functools.partial(function, *args, **kwargs)
    result: T = await loop.run_in_executor(_threads(), call)
    return result
