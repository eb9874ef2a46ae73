"""Whether a server answers, asked tightly: the hub's own back-off loses a second or two per start."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

_FIRST_SECONDS = 5.0  # asked tightly at first, when most servers come up
_TIGHT, _RELAXED = 0.03, 0.25


async def wait_until_ready(url: str, has_ended: Callable[[], bool], patience: float) -> bool:
    """Wait until `url` answers with anything but a server error.

    Parameters
    ----------
    has_ended
        Tells, without I/O, whether there is nothing to wait for any more.
    patience
        Seconds to wait at most.

    Returns
    -------
    bool
        False if it ended first.

    Raises
    ------
    TimeoutError
    """
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(patience):
        while not has_ended():
            if await _listens(address.hostname or "", address.port or 80) and await _answers(url):
                return True
            await asyncio.sleep(_TIGHT if loop.time() - begun < _FIRST_SECONDS else _RELAXED)
    return False


async def _listens(host: str, port: int) -> bool:
    try:
        # A packet that is dropped must not hold the loop for the kernel's minutes. Before Python 3.12 `wait_for`
        # loses a cancelling that comes as the connection is made or refused: a start that its user stops would go on.
        async with asyncio.timeout(0.5):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _answers(url: str) -> bool:
    try:
        await AsyncHTTPClient().fetch(
            HTTPRequest(url, connect_timeout=2.0, request_timeout=10.0, follow_redirects=False)
        )
    except HTTPClientError as error:
        return error.code < 500
    except OSError:
        return False
    return True
