"""What the API says of a class to a seat of it. No I/O."""

from datetime import datetime, timedelta
from typing import Any

from ..operations.class_lab import Lesson
from ..policy.ends import Notice
from ..policy.leasing import describe
from ..policy.model import AtEnd
from ..settings import LeaseSettings

POLL_SECONDS = 10
"""Between questions of a seat, at most: messages, files and hands are for now."""
_SOON = timedelta(minutes=2)


def class_view(lesson: Lesson, now: datetime) -> dict[str, Any]:
    """Describe a session to a seat of it."""
    return {
        "course": lesson.course.id,
        "title": lesson.course.title,
        "session": lesson.session.id,
        "session_title": lesson.session.title,
        "starts_at": lesson.session.starts_at.isoformat(),
        "ends_at": lesson.ends_at.isoformat(),
        "left_seconds": max(0, int((lesson.ends_at - now).total_seconds())),
        "exam": lesson.session.exam,
        "staff": lesson.staff,
        "hand": {"raised": lesson.hand_at is not None, "place": lesson.place or None},
        "messages": [
            {
                "id": message.id,
                "kind": str(message.kind),
                "text": message.text,
                "by": message.sent_by,
                "at": message.sent_at.isoformat(),
            }
            for message in lesson.messages
        ],
        "pushes": [
            {"id": push.id, "path": push.path, "sha256": push.sha256, "size": push.size} for push in lesson.pushes
        ],
        "files": [
            {
                "id": push.id,
                "path": delivery.path,
                "sent_as": push.path,
                "by": push.pushed_by,
                "outcome": str(delivery.outcome),
                "problem": delivery.problem,
                "at": delivery.at.isoformat(),
            }
            for push, delivery in lesson.files
        ],
    }


def class_notices(lesson: Lesson, settings: LeaseSettings, now: datetime) -> list[Notice]:
    """List what who sits in a class should know now: that it ends soon, told as often as a lease's end is."""
    left = lesson.ends_at - now
    passed = [minutes for minutes in settings.warn_minutes if left <= timedelta(minutes=minutes)]
    if not passed or left <= timedelta(0):
        return []
    minutes = min(passed)
    restarts = lesson.course.gpus and lesson.course.at_end is AtEnd.CPU
    what = "starts again without a GPU" if restarts else "stops"
    return [
        Notice(
            f"{lesson.session.id}-ends-{minutes}-{lesson.ends_at:%H%M%S}",
            "warning",
            f"{lesson.course.title} ends in {describe(max(left, timedelta(minutes=1)))}: open documents are saved, and "
            f"this server {what}. Running kernels end.",
            lesson.ends_at - timedelta(minutes=minutes),
        )
    ]


def class_poll_seconds(lesson: Lesson, now: datetime) -> int:
    """Say when a seat is to ask again."""
    return POLL_SECONDS // 2 if lesson.hand_at is not None or lesson.ends_at - now <= _SOON else POLL_SECONDS
