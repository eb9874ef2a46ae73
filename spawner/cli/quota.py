"""``berth quota``: what admins have set, setting it, and why somebody has what they have."""

from datetime import datetime, timedelta
from typing import Any

import click

from ..errors import QuotaInvalid, UnknownName
from ..operations import inventory, quotas
from ..operations.desk import Desk
from ..operations.quota_values import show_value
from ..operations.quotas import Account, Explained
from ..policy.accounting import hours_to_ms
from ..policy.model import Person
from ..policy.quota import ALL, QUOTA_DIMENSIONS, QuotaGrant, Subject
from .arguments import LINE, MOMENT, SPAN, actor, why_option
from .deployment import Deployment
from .membership import membership
from .output import Output, json_option
from .quota_files import export_quotas, import_quotas
from .shapes import exactly, grant_data, grant_words, minute, plural, subject_name, value_data
from .usage import hours

_SET = ("for", "dimension", "value", "until (UTC)", "set by", "at (UTC)", "why")
_WHY = ("dimension", "value", "from", "set by", "at (UTC)", "until (UTC)", "why")


@click.group()
def quota() -> None:
    """Show, set and explain quotas: how much each user may have.

    What is set here goes before `limits` in the settings, and holds at once. A user's own value goes before those of
    groups, of several groups the most generous counts, and where none speaks the default does.
    """


quota.add_command(import_quotas)
quota.add_command(export_quotas)


@quota.command()
@click.option("--user", help="What is set for one user.")
@click.option("--group", help="What is set for one group.")
@json_option
def show(user: str | None, group: str | None, as_json: bool) -> None:
    """Show what is set. `berth quota why` shows what a user has."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    now = desk.clock()
    wanted = {(Subject.USER, user), (Subject.GROUP, group)}
    chosen = [
        grant
        for grant in quotas.all_grants(desk)
        if (user is None and group is None) or (grant.subject, grant.name) in wanted
    ]
    output.data([grant_data(grant) | {"over": _over(grant, now)} for grant in chosen])
    if not chosen:
        output.say("Nothing is set; `limits` in the settings holds.")
        return
    output.listing(
        _SET,
        [
            (
                subject_name(grant),
                grant.dimension,
                show_value(grant.dimension, grant.value),
                minute(grant.until) + (" (over)" if _over(grant, now) else ""),
                grant.by,
                minute(grant.at),
                grant.why,
            )
            for grant in chosen
        ],
    )


def _over(grant: QuotaGrant, now: datetime) -> bool:
    return grant.until is not None and grant.until <= now


# Else a negative priority would be taken for an option.
@quota.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("subject", type=click.Choice(["user", "group", "default"]))
@click.argument("words", nargs=-1, metavar="[NAME] DIMENSION VALUE")
@click.option("--until", type=MOMENT, help="When it ends by itself: a date or time, UTC.")
@click.option("--for", "span", type=SPAN, help="How long it holds: 90m, 12h, 7d, 2w.")
@why_option
@json_option
def set_value(
    subject: str, words: tuple[str, ...], until: datetime | None, span: timedelta | None, why: str, as_json: bool
) -> None:
    """Set one value for a user, a group or, without a NAME, by default. `none` is no name, `*` all of them."""
    output = Output(as_json)
    name, dimension, value = _words(subject, words, "DIMENSION", "VALUE")
    if until is not None and span is not None:
        raise click.UsageError("Give --until or --for, not both.")
    deployment = Deployment.load()
    desk = deployment.desk()
    now = desk.clock()
    end = until if span is None else now + span
    grant = quotas.make_grant(subject, name, dimension, value, end, actor(), why, now)
    before = quotas.set_quota(desk, grant)
    notes = _notes(deployment, desk, grant)
    output.say(f"{dimension} for {subject_name(grant)}: {grant_words(grant)} (was: {grant_words(before)}).")
    for note in notes:
        output.say(f"Note: {note}")
    output.data({**grant_data(grant), "before": grant_data(before) if before else None, "notes": notes})


@quota.command()
@click.argument("subject", type=click.Choice(["user", "group", "default"]))
@click.argument("words", nargs=-1, metavar="[NAME] DIMENSION")
@why_option
@json_option
def unset(subject: str, words: tuple[str, ...], why: str, as_json: bool) -> None:
    """Take one value back, so that the settings' holds again."""
    output = Output(as_json)
    name, dimension = _words(subject, words, "DIMENSION")
    if dimension not in QUOTA_DIMENSIONS:
        raise QuotaInvalid(f"There is no dimension {dimension!r}; there are: {', '.join(QUOTA_DIMENSIONS)}.")
    before = quotas.unset_quota(Deployment.load().desk(), Subject(subject), name, dimension, actor(), why)
    if before is None:
        of_whom = f"{subject} {name}".strip()
        raise UnknownName(f"No {dimension} is set for {of_whom}; `berth quota show` lists what is.")
    output.say(f"{dimension} for {subject_name(before)} is not set any more (was: {grant_words(before)}).")
    output.data(grant_data(before))


def _words(subject: str, words: tuple[str, ...], *expected: str) -> tuple[str, ...]:
    """Give the words of a command with the name first, which the default does not have."""
    named = () if subject == Subject.DEFAULT else (subject.upper(),)
    wanted = (*named, *expected)
    stray = next((word for word in words if word.startswith("--")), None)
    if stray:
        raise click.UsageError(f"No such option: {stray}")
    if len(words) != len(wanted):
        raise click.UsageError(f"Expected {' '.join((subject, *wanted))}, found {' '.join((subject, *words))}.")
    if named:
        LINE.convert(words[0], None, click.get_current_context())
        return words
    return ("", *words)


def _notes(deployment: Deployment, desk: Desk, grant: QuotaGrant) -> list[str]:
    """Tell what looks like a mistake and need not be one."""
    if not isinstance(grant.value, frozenset):
        return []
    if grant.dimension == "models":
        known = {gpu.model for gpu, _ in inventory.board(desk).gpus}
        what = "GPU of model"
    else:
        known = {profile.slug for profile in deployment.settings.profiles}
        what = "profile"
    there = ", ".join(sorted(known)) or "none"
    return [f"There is no {what} {name!r} now; there are: {there}." for name in sorted(grant.value - known - ALL)]


@quota.command()
@click.argument("user", type=LINE)
@click.option(
    "--group", "groups", multiple=True, type=LINE, help="As if a member of this group; repeat it for several."
)
@json_option
def why(user: str, groups: tuple[str, ...], as_json: bool) -> None:
    """Explain a user's quota: each value, where it comes from, and what is left of the GPU-hours.

    The groups are those that the hub knows, unless some are named.
    """
    output = Output(as_json)
    deployment = Deployment.load()
    desk = deployment.desk()
    found = membership(deployment, user, groups)
    account = quotas.account(desk, Person(user, found.groups))
    days = desk.rules.window.days
    output.data(
        {
            "user": user,
            "groups": sorted(found.groups),
            "groups_from": found.source,
            "known": found.known,
            "quota": {explained.dimension: _explained(explained) for explained in account.quota},
            "gpus_held": account.gpus_held,
            "budget": _budget(account) | {"days": days},
        }
    )
    output.say(found.sentence)
    output.listing(_WHY, [_why_row(explained) for explained in account.quota])
    output.say(_account_words(account, days))


def _origin(explained: Explained) -> str:
    where = "set here" if explained.grant else "settings"
    return f"{explained.origin.source} ({where})"


def _explained(explained: Explained) -> dict[str, Any]:
    grant = explained.grant
    return {
        "value": value_data(explained.origin.value),
        "from": explained.origin.source,
        "set_in": "ledger" if grant else "settings",
        "by": grant.by if grant else "",
        "at": exactly(grant.at) if grant else None,
        "until": exactly(grant.until) if grant else None,
        "why": grant.why if grant else "",
    }


def _why_row(explained: Explained) -> tuple[str, ...]:
    grant, value = explained.grant, show_value(explained.dimension, explained.origin.value)
    said = (grant.by, minute(grant.at), minute(grant.until), grant.why) if grant else ("", "", "", "")
    return (explained.dimension, value, _origin(explained), *said)


def _limit_ms(account: Account) -> int | None:
    hours_allowed = next(one.origin.value for one in account.quota if one.dimension == "gpu_hours")
    return hours_to_ms(hours_allowed)


def _budget(account: Account) -> dict[str, Any]:
    limit = _limit_ms(account)
    left = None if limit is None else max(0, limit - account.used_ms - account.committed_ms)
    return {
        "limit_ms": limit,
        "used_ms": account.used_ms,
        "committed_ms": account.committed_ms,
        "left_ms": left,
    }


def _account_words(account: Account, days: int) -> str:
    budget = _budget(account)
    at_once = next(one.origin.value for one in account.quota if one.dimension == "gpus")
    used, committed = hours(account.used_ms), hours(account.committed_ms)
    spent = f"{used} used in the last {plural(days, 'day')}, {committed} committed to leases that run"
    left = (
        "no bound" if budget["left_ms"] is None else f"{hours(budget['left_ms'])} of {hours(budget['limit_ms'])} left"
    )
    return f"GPU-hours: {spent}, {left}.\nGPUs: {account.gpus_held} of {at_once} held."
