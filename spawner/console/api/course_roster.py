"""Rosters of courses, and the links by which people join."""

from fastapi import APIRouter

router = APIRouter(tags=["classes"])
