"""What happens at the seats of a course."""

from dataclasses import replace

from spawner.operations import leases, seats
from spawner.operations.leases import Granted
from spawner.operations.seats import Placed
from spawner.policy.classes import Course, Session
from spawner.policy.model import Deny

from ..support.office import NOW, Office

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1)


def sit(office: Office, user: str) -> str:
    """Start a seat's server."""
    answer = leases.acquire(office.desk, COURSE.seat(user, 2.0))
    assert isinstance(answer, Granted), answer
    leases.activate(office.desk, answer.lease.id, f"container-{user}", office.clock.now)
    return answer.lease.id


def taken(office: Office, user: str) -> Placed:
    found = seats.placed(office.desk, user, "ml")
    assert isinstance(found, Placed), found
    return found


def refused(office: Office, user: str) -> Deny:
    found = seats.placed(office.desk, user, "ml")
    assert isinstance(found, Deny), found
    return found


def change(office: Office, session: Session, **changes: object) -> Session:
    with office.ledger.transaction() as books:
        changed = replace(session, **changes)  # type: ignore[arg-type]
        books.sessions.update(changed)
    return changed
