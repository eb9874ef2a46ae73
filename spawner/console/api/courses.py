"""Courses: made, changed, put away; who is in them."""

from fastapi import APIRouter

router = APIRouter(tags=["classes"])
