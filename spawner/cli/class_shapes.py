"""What commands print of courses, sessions and seats: the same words in all tables, the same keys in all JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..operations.sessions import NoFit, Shortened
from ..policy.admission import format_bytes
from ..policy.classes import Course, Member, Role, Seat, Session, hands, seat_state
from ..policy.leasing import describe
from .shapes import exactly, minute, plural

Counts = Mapping[tuple[str, Role], int]
SESSION_HEADINGS = ("session", "course", "from (UTC)", "until (UTC)", "seats", "state", "title")


def course_data(course: Course) -> dict[str, Any]:
    return {
        "id": course.id,
        "title": course.title,
        "profile": course.profile,
        "gpus": course.gpus,
        "models": sorted(course.models),
        "kinds": sorted(course.kinds),
        "memory": course.memory,
        "at_end": course.at_end,
        "materials": course.materials,
        "branch": course.branch,
        "folder": course.folder,
        "data": course.data,
        "collect": course.collect,
        "homes": course.homes,
        "group": course.group,
        "limits": limits_data(course),
        "created_by": course.created_by,
        "created_at": exactly(course.created_at),
        "archived_at": exactly(course.archived_at),
    }


def limits_data(course: Course) -> dict[str, Any]:
    ahead = course.most_ahead
    return {
        "seats": course.most_seats,
        "gpu_hours": course.most_gpu_hours,
        "ahead_days": None if ahead is None else ahead.total_seconds() / 86_400,
    }


def limits_words(course: Course) -> str:
    """Say what admins allow a course."""
    said = []
    if course.most_seats is not None:
        said.append(f"{plural(course.most_seats, 'seat')} at a time")
    if course.most_gpu_hours is not None:
        said.append(f"{course.most_gpu_hours:g} GPU-hours in all")
    if course.most_ahead is not None:
        days, rest = divmod(course.most_ahead, timedelta(days=1))
        said.append(f"{describe(course.most_ahead) if rest or not days else plural(days, 'day')} ahead")
    return ", ".join(said) or "none"


def people_data(counts: Counts, course: str) -> dict[str, int]:
    return {f"{role}s": counts.get((course, role), 0) for role in Role}


def seat_words(course: Course) -> str:
    """Say what one seat of a course has."""
    if not course.gpus:
        return f"{course.profile}, no GPU"
    said = [course.profile, plural(course.gpus, "GPU")]
    if course.models:
        said.append(" or ".join(sorted(course.models)))
    if course.kinds:
        said.append(" or ".join(sorted(course.kinds)))
    if course.memory:
        said.append(f"{format_bytes(course.memory)} or more")
    return ", ".join(said)


def member_data(member: Member) -> dict[str, Any]:
    return {
        "user": member.user,
        "role": member.role,
        "via": member.via,
        "added_at": exactly(member.added_at),
        "added_by": member.added_by,
        "agreed_at": exactly(member.agreed_at),
    }


def session_data(session: Session, now: datetime) -> dict[str, Any]:
    return {
        "id": session.id,
        "course": session.course,
        "title": session.title,
        "state": session.phase(now),
        "starts_at": exactly(session.starts_at),
        "ends_at": exactly(session.ends_at),
        "seats": session.seats,
        "lead_minutes": session.lead.total_seconds() / 60,
        "grace_minutes": session.grace.total_seconds() / 60,
        "late": session.late,
        "exam": session.exam,
        "terminals": session.terminals,
        "series": session.series,
        "reservation": session.reservation,
        "created_by": session.created_by,
        "created_at": exactly(session.created_at),
        "collect_at": exactly(session.collect_at),
        "warmed_at": exactly(session.warmed_at),
        "cleared_at": exactly(session.cleared_at),
        "cancelled_at": exactly(session.cancelled_at),
    }


def session_row(session: Session, now: datetime) -> tuple[str, ...]:
    return (
        session.id,
        session.course,
        minute(session.starts_at),
        minute(session.ends_at),
        str(session.seats),
        session.phase(now),
        f"{session.title} (exam)".strip() if session.exam else session.title,
    )


def seat_data(seat: Seat, seats: Sequence[Seat], now: datetime) -> dict[str, Any]:
    return {
        "user": seat.user,
        "state": seat_state(seat, now),
        "guest": seat.guest,
        "attempts": seat.attempts,
        "asked_at": exactly(seat.asked_at),
        "ready_at": exactly(seat.ready_at),
        "entered_at": exactly(seat.entered_at),
        "active_at": exactly(seat.active_at),
        "hand_at": exactly(seat.hand_at),
        "hand_place": hand_place(seat, seats),
        "given_back_at": exactly(seat.given_back_at),
        "ended_at": exactly(seat.ended_at),
        "until": exactly(seat.until),
        "memory": seat.memory,
        "problem": seat.problem,
        "wish": seat.wish,
        "wished_by": seat.wished_by,
    }


def seat_note(seat: Seat, seats: Sequence[Seat]) -> str:
    """Say what staff should know of a seat besides its columns."""
    said = []
    place = hand_place(seat, seats)
    if place is not None:
        said.append(f"hand {place}, since {minute(seat.hand_at)}")
    if seat.problem:
        said.append(seat.problem)
    if seat.wish:
        said.append(f"{seat.wish} wished by {seat.wished_by}")
    if seat.guest:
        said.append("guest")
    if seat.until is not None:
        said.append(f"until {minute(seat.until)}")
    return "; ".join(said)


def hand_place(seat: Seat, seats: Sequence[Seat]) -> int | None:
    """Tell how many ask for help before a seat, and it; None where it does not."""
    if seat.hand_at is None:
        return None
    return [one.user for one in hands(seats)].index(seat.user) + 1


def shortened_data(shortened: Shortened) -> dict[str, Any]:
    lease = shortened.lease
    return {
        "lease": lease.id,
        "user": lease.user,
        "server": lease.server,
        "ended_at": exactly(lease.ends_at),
        "ends_at": exactly(shortened.ends_at),
    }


def no_fit_data(found: NoFit) -> dict[str, Any]:
    """Tell programs what would fit, as the API does."""
    return {
        "starts_at": exactly(found.starts_at),
        "seats": found.fit.seats,
        "times": [exactly(one) for one in found.fit.times],
        "kinds": [
            {"model": one.model, "kind": one.kind, "memory": one.memory, "seats": one.seats} for one in found.fit.kinds
        ],
    }


def no_fit_words(found: NoFit) -> str:
    """Say that seats do not fit, and what would."""
    said = [found.denied.reason]
    if found.fit.times:
        said.append(f"They fit at {', '.join(minute(time) for time in found.fit.times)} UTC.")
    if found.fit.kinds:
        kinds = [f"{one.model} ({one.kind}, {format_bytes(one.memory)})" for one in found.fit.kinds]
        said.append(f"They fit then on {', '.join(kinds)}.")
    if len(said) == 1:
        said.append("Ask for fewer seats, or for a day that is further away; `berth gpus` shows what there is.")
    return " ".join(said)
