"""The REST API v1: one module per topic, each with a ``router``; listed here."""

from fastapi import APIRouter

from ..problems import RESPONSES
from . import (
    audit,
    calendar,
    class_board,
    class_reports,
    class_sends,
    course_roster,
    courses,
    free,
    gpus,
    homes,
    leases,
    me,
    mine,
    queue,
    quota_files,
    quotas,
    servers,
    sessions,
    usage,
)

TOPICS = [
    audit,
    courses,
    course_roster,
    sessions,
    calendar,
    class_board,
    class_reports,
    class_sends,
    free,
    gpus,
    homes,
    leases,
    me,
    mine,
    queue,
    quota_files,
    quotas,
    servers,
    usage,
]


def api_router() -> APIRouter:
    """Join the routers, below ``api/v1``."""
    joined = APIRouter(prefix="/api/v1", responses=RESPONSES)
    for topic in TOPICS:
        joined.include_router(topic.router)
    return joined
