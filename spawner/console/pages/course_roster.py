"""Rosters of courses: shown, filled, thinned, downloaded."""

from fastapi import APIRouter

router = APIRouter()
