"""Join links: made and withdrawn by staff, followed by whoever has one."""

from fastapi import APIRouter

router = APIRouter()
