"""What the API says of a class to a seat of it. No I/O."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ..operations.class_lab import Lesson
from ..policy.ends import Notice

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
        "withheld": lesson.withheld,
    }


def in_class(notices: Iterable[Notice]) -> list[Notice]:
    """Give a lease's notices for who sits in a class: its staff say how long it lasts, and what becomes of its GPUs."""
    return [replace(one, actions=tuple(action for action in one.actions if action == "restart")) for one in notices]


def class_poll_seconds(lesson: Lesson, now: datetime) -> int:
    """Say when a seat is to ask again."""
    return POLL_SECONDS // 2 if lesson.hand_at is not None or lesson.ends_at - now <= _SOON else POLL_SECONDS
