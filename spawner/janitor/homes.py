"""What the loops find to be done about users' homes: what there is, how large, whose it is, and what is wished."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from ..engine.disk_use import CannotMeasure, measure
from ..engine.volumes import home_volume, home_volumes, volumes_in_use
from ..operations import home_work as work
from ..operations.home_work import Noted, SeenVolume
from ..operations.homes import overview
from ..policy.homes import Home, HomeState
from ..policy.names import home_volume_prefix
from .moving import carry_out
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
_MEASURED_AT_ONCE = 50  # homes per turn
_NAMED = 5  # homes that a step's text names one by one

_VERBS = {
    HomeState.ARCHIVING: "archive",
    HomeState.RESTORING: "restore",
    HomeState.DELETING: "delete",
}


def home_steps(post: Post) -> list[Step]:
    """Carry out what is wished for homes, but for archives: those take long, and nobody is to wait for them."""
    return [_step(post, home) for home in _due(post) if home.state is not HomeState.ARCHIVING]


def archive_steps(post: Post) -> list[Step]:
    """Archive the home that was the first to be wished so."""
    return [_step(post, home) for home in _due(post) if home.state is HomeState.ARCHIVING][:1]


def _due(post: Post) -> list[Home]:
    return work.due(post.desk, home_volume_prefix(post.hub_id))


def _step(post: Post, home: Home) -> Step:
    verb = _VERBS.get(home.state)
    if verb is None:
        text = f"remove the archive {home.archive} that is left over"
    else:
        text = f"{verb} the home of {home.owner} ({home.volume}), as {home.asked_by or 'somebody'} wished"
    return Step(text, partial(carry_out, post, home), slow=home.state is HomeState.RESTORING)


def volume_steps(post: Post) -> list[Step]:
    """Look which homes there are, and which are in use."""
    looked_at = post.desk.clock()
    used = volumes_in_use(post.engine)
    seen = [
        SeenVolume(volume.name, volume.user, volume.created_at, volume.name in used)
        for volume in home_volumes(post.engine, post.hub_id)
    ]
    prefix = home_volume_prefix(post.hub_id)
    noted = work.unlike(post.desk, seen, prefix, looked_at)
    if not noted:
        return []
    return [Step(f"note {_words(noted)}", partial(work.take_over, post.desk, seen, prefix, looked_at))]


def _words(noted: Sequence[Noted]) -> str:
    said = sorted(_change(one) for one in noted)
    more = len(said) - _NAMED
    return "; ".join(said[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _change(one: Noted) -> str:
    before, after = one.before, one.after
    if after is None:
        return f"that the home of {before.owner if before else ''} never came to be"
    whose = f"the home of {after.owner}"
    if before is None:
        return f"{whose}, which is new"
    if after.state is not before.state:
        return f"that {whose} is {after.state}"
    if after.owner_gone_at != before.owner_gone_at:
        return f"that the hub {'knows' if after.owner_gone_at is None else 'does not know'} {after.owner}"
    return f"that {whose} is {'in use' if after.in_use else 'not in use'}"


def size_steps(post: Post) -> list[Step]:
    """Measure homes, one after the other, those that nobody has used since they were measured left out."""
    every = timedelta(minutes=post.settings.homes.measure_minutes)
    prefix = home_volume_prefix(post.hub_id)
    homes = work.to_be_measured(post.desk, every, _MEASURED_AT_ONCE)
    return [
        Step(f"measure the home of {home.owner}", partial(_measure, post, home.volume))
        for home in homes
        if home.volume.startswith(prefix)
    ]


def _measure(post: Post, name: str) -> bool:
    if post.stopping.is_set():
        return False
    volume = home_volume(post.engine, name)
    if volume is None:
        return False  # the look at volumes notes that
    try:
        found = measure(volume, newest=True)
    except CannotMeasure as error:
        _LOG.info("A home was not measured: %s [%s]", error, error.reason)
        work.note_size(post.desk, name, None, None)
        return False
    return work.note_size(post.desk, name, found.used, found.newest)


def owner_steps(post: Post) -> list[Step]:
    """Ask the hub whose homes are whose it does not know any more, and do with them what the settings say."""
    if post.hub is None or not overview(post.desk).count:
        return []  # the command line has no token of the hub's
    known = post.hub.users()
    rules = post.settings.homes
    asked = known, rules.deleted_users, timedelta(days=rules.grace_days)
    noted = work.strangers(post.desk, *asked)
    return [Step(f"note {_words(noted)}", partial(work.retire, post.desk, *asked))] if noted else []
