"""The ledger read by plain SQL, past all that is under test."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Two leases that had the same slot at the same time, ever; one that is open has it until now.
_HELD_TWICE = """
SELECT a.slot, one.id, one.granted_at, one.closed_at, two.id, two.granted_at, two.closed_at
FROM lease_slots a
JOIN lease_slots b ON b.slot = a.slot AND b.lease > a.lease
JOIN leases one ON one.id = a.lease
JOIN leases two ON two.id = b.lease
WHERE one.granted_at < coalesce(two.closed_at, 9e15) AND two.granted_at < coalesce(one.closed_at, 9e15)
"""
_BOOKED_TWICE = """
SELECT a.slot, a.lease, a.started_at, a.ended_at, b.lease, b.started_at, b.ended_at
FROM usage a
JOIN usage b ON b.slot = a.slot AND b.lease > a.lease
WHERE a.started_at < b.ended_at AND b.started_at < a.ended_at
"""
# Booked for something else than what the lease says: no row or another's, or not the length of its interval.
_MISBOOKED = """
SELECT l.id, s.slot, l.started_at, u.started_at, u.ended_at, u.gpu_ms
FROM leases l
JOIN lease_slots s ON s.lease = l.id
LEFT JOIN usage u ON u.lease = l.id AND u.slot = s.slot
WHERE l.state = 'closed' AND (
    (l.started_at IS NULL) <> (u.lease IS NULL)
    OR u.started_at <> l.started_at OR u.ended_at > l.closed_at OR u.gpu_ms <> u.ended_at - u.started_at
)
"""
_STRAY = """
SELECT lease, slot FROM usage
WHERE NOT EXISTS (SELECT 1 FROM lease_slots s WHERE s.lease = usage.lease AND s.slot = usage.slot)
"""


@dataclass(frozen=True)
class OpenLease:
    id: str
    user: str
    state: str
    container: str
    slots: tuple[str, ...]


class PlainBooks:
    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=20)
        try:
            yield connection
        finally:
            connection.close()

    def _rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._open() as connection:
            return connection.execute(query, values).fetchall()

    def faults(self) -> dict[str, list[tuple[object, ...]]]:
        """List what must never be, by kind."""
        queries = {
            "held twice": _HELD_TWICE,
            "booked twice": _BOOKED_TWICE,
            "misbooked": _MISBOOKED,
            "booked for nobody": _STRAY,
        }
        found = {kind: self._rows(query) for kind, query in queries.items()}
        return {kind: rows for kind, rows in found.items() if rows}

    def open_leases(self) -> list[OpenLease]:
        query = """
            SELECT l.id, l.username, l.state, l.container, group_concat(s.slot)
            FROM leases l JOIN lease_slots s ON s.lease = l.id WHERE l.state <> 'closed' GROUP BY l.id ORDER BY l.id
        """
        return [
            OpenLease(str(lease), str(user), str(state), str(container), tuple(str(slots).split(",")))
            for lease, user, state, container, slots in self._rows(query)
        ]

    def waiting(self) -> list[str]:
        """Name those who wait or have an offer."""
        query = "SELECT username FROM tickets WHERE state IN ('waiting', 'offered') ORDER BY username"
        return [str(user) for (user,) in self._rows(query)]

    def loop_succeeded(self, name: str) -> float:
        """Tell when a loop of the janitor last went well, in seconds since 1970; 0 if never."""
        found = self._rows("SELECT succeeded_at FROM loops WHERE name = ? AND succeeded_at IS NOT NULL", name)
        return float(str(found[0][0])) / 1000 if found else 0.0

    def booked_seconds(self, container: str) -> float | None:
        """Sum up what was booked for a container; None if one of its leases is open, or none ever became active."""
        query = """
            SELECT l.state, l.started_at, coalesce(sum(u.gpu_ms), 0)
            FROM leases l LEFT JOIN usage u ON u.lease = l.id WHERE l.container = ? GROUP BY l.id
        """
        rows = self._rows(query, container)
        if not rows or any(state != "closed" or started is None for state, started, _ in rows):
            return None
        return sum(float(str(booked)) for *_, booked in rows) / 1000

    def endings(self) -> dict[str, int]:
        query = "SELECT ending, count(*) FROM leases WHERE state = 'closed' GROUP BY ending ORDER BY ending"
        return {str(ending): int(str(count)) for ending, count in self._rows(query)}
