"""What is made ready on a machine before a class's seats are started: the image, and compiled kernels for its GPUs."""

import logging
from datetime import timedelta
from functools import partial

from ..engine import images
from ..engine.client import engine_errors
from ..engine.devices import access_for
from ..engine.warming import is_under_way, warm_cache
from ..errors import CacheNotWarmed, ImageUnavailable
from ..operations import caches, inventory
from ..operations.caches import Cold
from ..operations.repairs import JANITOR
from ..policy.names import cuda_volume_name
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
EVERY = 30.0
AHEAD = timedelta(hours=2)
"""How long before its first start what a class needs is looked for."""
_WHY = "its cache of CUDA kernels is being warmed for a class"
_DONE = "its cache of CUDA kernels is done"
_ENDED = "the warming of its cache of CUDA kernels was ended"


def prepare_steps(post: Post) -> list[Step]:
    """Pull images that classes need soon, and warm the caches of GPUs that they have reserved."""
    steps = _left_over(post)
    coming = caches.coming(post.desk, AHEAD)
    if not coming:
        return steps
    by_slug = {profile.slug: profile.image for profile in post.settings.profiles}
    wanted = sorted({by_slug.get(course.profile, "") or post.settings.image for _, course in coming})
    with engine_errors():
        missing = [image for image in wanted if not images.exists(post.engine, image)]
    if post.settings.pull != "never":
        steps += [Step(f"pull {image}, which a class needs soon", partial(_pull, post, image)) for image in missing]
    for cold in caches.cold(post.desk, coming, partial(cuda_volume_name, post.hub_id)):
        image = by_slug.get(cold.profile, "") or post.settings.image
        if image not in missing and not is_under_way(post.engine, cold.volume):
            text = f"warm the cache of CUDA kernels of {cold.gpu.model} on {cold.gpu.name}, for the class {cold.course}"
            steps.append(Step(text, partial(_warm, post, cold, image)))
    return steps


def _left_over(post: Post) -> list[Step]:
    """Give GPUs back on which nobody warms a cache any more: a janitor was killed while it did."""
    return [
        Step(
            f"put {gpu.name} back in service, on which a cache was being warmed",
            partial(inventory.give_back, post.desk, gpu.uuid, _WHY, _ENDED),
        )
        for gpu in inventory.borrowed(post.desk, _WHY)
        # What a killed janitor has begun goes on for a while, and another's is at work where a loop is run by hand.
        if not is_under_way(post.engine, cuda_volume_name(post.hub_id, gpu.model))
    ]


def _pull(post: Post, image: str) -> bool:
    try:
        with engine_errors():
            images.pull(post.engine, image, lambda _here, _all: None)
    except ImageUnavailable as error:
        _LOG.error("%s", error)
        post.classes.failed("image")
        return False
    return True


def _warm(post: Post, cold: Cold, image: str) -> bool:
    if not inventory.borrow(post.desk, cold.gpu.uuid, caches.TAKES, _WHY):
        return False  # whoever was quicker keeps it
    try:
        access = access_for(post.engine, [cold.slot], image)
        found = warm_cache(post.engine, image, cold.volume, post.hub_id, access, _LOG.info)
    except CacheNotWarmed as error:
        _LOG.error("%s", error)
        found = {"ok": False, "problem": str(error)}
    finally:
        inventory.give_back(post.desk, cold.gpu.uuid, _WHY, _DONE)
    # Also of one that failed: to try it every minute would keep the GPU from everybody.
    caches.note_warmed(post.desk, cold.volume, JANITOR, found)
    return True
