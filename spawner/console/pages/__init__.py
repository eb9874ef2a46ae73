"""The pages: one module per topic, each with a ``router``; listed here."""

from fastapi import APIRouter

from . import mine, reading

TOPICS = [reading, mine]


def pages_router() -> APIRouter:
    joined = APIRouter(include_in_schema=False)
    for topic in TOPICS:
        joined.include_router(topic.router)
    return joined
