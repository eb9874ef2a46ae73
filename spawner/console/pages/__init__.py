"""The pages: one module per topic, each with a ``router``; listed here."""

from fastapi import APIRouter

from . import (
    audit,
    calendar,
    class_board,
    class_reports,
    class_sends,
    course_limits,
    course_roster,
    courses,
    free,
    gpus,
    homes,
    joining,
    leases,
    mine,
    quota_files,
    quotas,
    reading,
    servers,
    sessions,
    usage,
)

TOPICS = [
    reading,
    mine,
    servers,
    sessions,
    calendar,
    class_board,
    class_reports,
    class_sends,
    courses,
    course_limits,
    course_roster,
    joining,
    free,
    gpus,
    quota_files,
    quotas,
    leases,
    usage,
    homes,
    audit,
]


def pages_router() -> APIRouter:
    joined = APIRouter(include_in_schema=False)
    for topic in TOPICS:
        joined.include_router(topic.router)
    return joined
