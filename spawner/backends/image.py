"""The image of a server, there or pulled while its user watches."""

import asyncio
from typing import Literal

from ..engine import images
from ..engine.client import Engine
from ..policy.admission import format_bytes
from .progress import Steps


async def image_here(engine: Engine, image: str, pull: Literal["missing", "always", "never"], steps: Steps) -> None:
    """Make sure that the engine has an image; tells how far its pull is, in bytes.

    Raises
    ------
    ImageUnavailable
        If it is not to be had.
    """
    if pull != "always" and await engine.call("quick", lambda client: images.exists(client, image)):
        return
    steps.add(10, f"Pulling the image {image}.")
    if pull == "never":
        raise images.unavailable(image, "settings say that nothing is pulled")
    loop = asyncio.get_running_loop()
    told = -1

    def report(here: int, total: int) -> None:
        nonlocal told
        # A step per percent: the stream has thousands of events, and a page that opens late is told them all.
        if total and (percent := 100 * here // total) != told:
            told = percent
            message = f"Pulling the image: {format_bytes(here)} of {format_bytes(total)}."
            loop.call_soon_threadsafe(steps.add, 10 + 35 * here // total, message)

    await engine.call("slow", lambda client: images.pull(client, image, report))
