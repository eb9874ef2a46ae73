"""Sessions of courses, and the calendar."""

from fastapi import APIRouter

router = APIRouter()
