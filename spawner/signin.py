"""Signing in: what can be set about it, and the authenticator that follows."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SignIn(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["demo"] = Field("demo", description="How people sign in.")
