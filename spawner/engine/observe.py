"""What exists on an engine, as values for the reconciliation, with the engine's own times.

An engine that fails raises: a list that did not arrive must never look like an empty one.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
from docker.errors import NotFound

from ..policy.observed import ObservedContainer
from .client import engine_errors
from .containers import LEASE_LABEL, SERVER_LABEL, SLOTS_LABEL, USER_LABEL, inspect
from .view import HUB_LABEL, state_from_inspect


def observe(client: docker.APIClient, hub_id: str) -> list[ObservedContainer]:
    """List one hub's containers, running or not: one list, and an inspection of each that holds a lease.

    One that is removed meanwhile is left out.

    Raises
    ------
    EngineUnavailable
        If any of it could not be read.
    docker.errors.APIError
        If the engine refuses the request (HTTP 4xx).
    """
    with engine_errors():
        listed = client.containers(all=True, filters={"label": [f"{HUB_LABEL}={hub_id}"]})
        seen = (_look(client, entry) for entry in listed)
        return [container for container in seen if container is not None]


def _look(client: docker.APIClient, entry: dict[str, Any]) -> ObservedContainer | None:
    if not entry["Labels"].get(LEASE_LABEL):
        return from_list(entry)
    try:
        return from_inspect(client.inspect_container(entry["Id"]))
    except NotFound:
        return None


def from_list(entry: dict[str, Any]) -> ObservedContainer:
    """Read an entry of ``GET /containers/json``, which knows no times but the creation's, to the second."""
    return ObservedContainer(
        id=entry["Id"],
        name=(entry["Names"] or [""])[0].lstrip("/"),  # without a name while it is being removed
        running=entry["State"] in {"running", "paused", "restarting"},
        created_at=datetime.fromtimestamp(entry["Created"], UTC),
        **_from_labels(entry["Labels"]),
    )


def from_inspect(answer: dict[str, Any]) -> ObservedContainer:
    """Read ``GET /containers/{id}/json``."""
    state = state_from_inspect(answer)
    begun = parse_time(answer["State"]["StartedAt"])
    return ObservedContainer(
        id=state.id,
        name=state.name,
        running=state.running,
        created_at=parse_time(answer["Created"]),
        started_at=begun,
        finished_at=parse_time(state.finished_at),
        exit_code=state.exit_code if begun else None,
        out_of_memory=state.out_of_memory,
        **_from_labels(answer["Config"]["Labels"]),
    )


def _from_labels(labels: dict[str, str]) -> dict[str, Any]:
    return {
        "user": labels.get(USER_LABEL, ""),
        "server": labels.get(SERVER_LABEL, ""),
        "lease": labels.get(LEASE_LABEL, ""),
        "slots": tuple(slot for slot in labels.get(SLOTS_LABEL, "").split(",") if slot),
    }


def started_at(client: docker.APIClient, container: str) -> datetime | None:
    """Give the engine's time of a container's last start; None if it never ran or is gone.

    Raises
    ------
    EngineUnavailable
        If the engine does not answer.
    """
    observed = _inspected(client, container)
    return observed.started_at if observed else None


def finished_at(client: docker.APIClient, container: str) -> datetime | None:
    """Give the engine's time of a container's end; None if it runs, never ran, or is gone.

    Raises
    ------
    EngineUnavailable
        If the engine does not answer.
    """
    observed = _inspected(client, container)
    return observed.finished_at if observed else None


def _inspected(client: docker.APIClient, container: str) -> ObservedContainer | None:
    with engine_errors():
        answer = inspect(client, container)
    return from_inspect(answer) if answer else None


def parse_time(text: str) -> datetime | None:
    """Read the engine's time (RFC 3339, up to nanoseconds) to the microsecond; None for none.

    Raises
    ------
    ValueError
        If it is not such a time.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise ValueError(f"not a time of the engine's: {text!r}")
    whole, fraction, zone = match.groups()
    moment = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone))
    if moment.year == 1:  # the engine's word for never
        return None
    return moment.astimezone(UTC) + timedelta(microseconds=int((fraction or "0").ljust(6, "0")[:6]))
