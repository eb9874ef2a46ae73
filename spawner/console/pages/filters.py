"""What forms of filters send: empty fields mean nothing."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BeforeValidator

from ..ranges import Day

Word = Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")]


def _nothing(said: object) -> object:
    return None if said == "" else said


DayField = Annotated[Day | None, BeforeValidator(_nothing), Query()]
"""A field of a form that takes a day."""


class Asked(dict[str, str]):
    """The fields of a form that say something; all others are empty."""

    def __missing__(self, name: str) -> str:
        return ""


def chosen(**fields: str | date | None) -> Asked:
    """Give the fields that say something, as a query has them."""
    return Asked({name: str(said) for name, said in fields.items() if said not in {None, ""}})


def query(asked: Mapping[str, str], **changes: str | date | int | None) -> str:
    """Write a query with some fields changed; those that are None go."""
    said = {**asked, **{name: None if value is None else str(value) for name, value in changes.items()}}
    return urlencode({name: value for name, value in said.items() if value})
