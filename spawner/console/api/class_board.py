"""The live board of a session, and what staff do at it."""

from fastapi import APIRouter

router = APIRouter(tags=["classes"])
