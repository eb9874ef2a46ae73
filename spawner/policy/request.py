"""From what arrives at the API or the form to one typed request."""

import sys
from collections.abc import Mapping

from .model import AtEnd, Deny, IfBusy, SpawnRequest

OPTIONS = ("profile", "gpus", "hours", "if_busy", "at_end", "clean")


def parse_request(options: Mapping[str, object], default_profile: str) -> SpawnRequest | Deny:
    """Parse a spawn's ``user_options``.

    Parameters
    ----------
    options
        As sent by a client: anything may be in it. Without a profile the default one is taken, so that a bare
        API call starts a server.
    default_profile
        Slug of the profile for requests that name none.

    Returns
    -------
    SpawnRequest or Deny
        ``Deny`` with code ``invalid_option`` names the option, what was sent and what is understood.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        return Deny(
            "invalid_option",
            f"{_quoted(unknown)} cannot be chosen here; a server is asked for with {', '.join(OPTIONS)}. "
            "Image and size come with the profile.",
        )
    profile = options.get("profile") or default_profile
    if not isinstance(profile, str):
        return _bad("profile", profile, "a profile's name")
    gpus = options.get("gpus")
    if gpus is not None and (isinstance(gpus, bool) or not isinstance(gpus, int) or gpus < 0):
        return _bad("gpus", gpus, "a whole number, 0 or more")
    hours = options.get("hours")
    if hours is not None and (
        isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= sys.float_info.max
    ):
        return _bad("hours", hours, "a number of hours above 0")
    if_busy = options.get("if_busy", IfBusy.QUEUE)
    if if_busy not in list(IfBusy):
        return _bad("if_busy", if_busy, " or ".join(IfBusy))
    at_end = options.get("at_end")
    if at_end is not None and at_end not in list(AtEnd):
        return _bad("at_end", at_end, " or ".join(AtEnd))
    clean = options.get("clean")
    if clean is not None and not isinstance(clean, bool):
        return _bad("clean", clean, "true or false")
    return SpawnRequest(
        profile,
        gpus,
        None if hours is None else float(hours),
        IfBusy(str(if_busy)),
        None if at_end is None else AtEnd(str(at_end)),
        bool(clean),
    )


def _bad(option: str, value: object, expected: str) -> Deny:
    return Deny("invalid_option", f"{option} must be {expected}, not {_shown(value)}.")


def _quoted(names: list[str]) -> str:
    return ", ".join(_shown(name) for name in names)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
