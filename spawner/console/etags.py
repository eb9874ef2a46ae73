"""Optimistic concurrency: whoever writes says which version they have seen.

Answers that can be written back carry an ``ETag``; writes need it in ``If-Match``, or fail with 428. Where somebody
else has written meanwhile they fail with 412, and nothing is lost.
"""

import hashlib
import json
from typing import Any

from fastapi import Request

from .problems import Problem


def etag_of(value: Any) -> str:
    """Give the version of a value, anything that JSON can say."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def require_match(request: Request, etag: str) -> None:
    """Check that what is about to be written is what its writer has seen.

    Raises
    ------
    Problem
        428 without ``If-Match``, 412 where it names another version. ``*`` matches all that exists.
    """
    said = request.headers.get("If-Match")
    if said is None:
        raise Problem(
            428, "version_needed", "Say in If-Match which version you have seen: the ETag of the GET, or * for any."
        )
    versions = {one.strip().removeprefix("W/") for one in said.split(",")}
    if "*" not in versions and etag not in versions:
        raise Problem(
            412, "changed_meanwhile", "Somebody has changed this meanwhile. Look again, then repeat.", {"ETag": etag}
        )
