"""How busy simulated GPUs are, as time goes on."""

import math
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_Ratio = Annotated[float, Field(ge=0, le=1)]


class Described(BaseModel):
    """Something in a file of simulated GPUs."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(Described):
    """The same at all times."""

    pattern: Literal["constant"]
    value: _Ratio


class Sine(Described):
    """Up and down; with the period of a day, highest at noon UTC and lowest at midnight."""

    pattern: Literal["sine"]
    low: _Ratio = 0.05
    high: _Ratio = 0.95
    period: Annotated[float, Field(gt=0)] = 86400.0


class Ramp(Described):
    """From one value to another within some seconds after the start, and there it stays."""

    pattern: Literal["ramp"]
    begin: _Ratio = 0.0
    end: _Ratio = 1.0
    over: Annotated[float, Field(gt=0)]


class Leased(Described):
    """Busy while somebody holds it."""

    pattern: Literal["leased"]
    busy: _Ratio = 0.85
    idle: _Ratio = 0.0


Pattern = Constant | Sine | Ramp | Leased
PATTERNS = ("constant", "sine", "ramp", "leased")
A_LOAD = f"a number from 0 to 1, or a pattern: {', '.join(PATTERNS)}"


def _constant(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"pattern": "constant", "value": value}
    if not isinstance(value, dict | Described):
        raise ValueError(A_LOAD)  # noqa: TRY004  pydantic takes no TypeError
    return value


Load = Annotated[Annotated[Pattern, Field(discriminator="pattern")], BeforeValidator(_constant)]


def load_at(load: Pattern, now: datetime, seconds: float, *, leased: bool) -> float:
    """Give the share of time in which kernels run.

    Parameters
    ----------
    seconds
        Since the start of the simulation.
    """
    match load:
        case Constant():
            return load.value
        case Sine():
            wave = (1 - math.cos(2 * math.pi * now.timestamp() / load.period)) / 2
            return load.low + (load.high - load.low) * wave
        case Ramp():
            return load.begin + (load.end - load.begin) * min(1.0, max(0.0, seconds / load.over))
        case Leased():
            return load.busy if leased else load.idle


def load_seconds(load: Pattern, start: datetime, begin: float, end: float, *, leased: bool) -> float:
    """Integrate `load_at` over time.

    Parameters
    ----------
    start
        Of the simulation; `begin` and `end` are seconds since.
    leased
        Whether somebody held it all the time.
    """
    match load:
        case Sine():
            turn = 2 * math.pi / load.period
            first, last = ((start.timestamp() + seconds) * turn for seconds in (begin, end))
            waves = (end - begin - (math.sin(last) - math.sin(first)) / turn) / 2
            return load.low * (end - begin) + (load.high - load.low) * waves
        case Ramp():

            def until(seconds: float) -> float:
                risen = min(load.over, max(0.0, seconds))
                return load.begin * seconds + (load.end - load.begin) * (
                    risen * risen / (2 * load.over) + max(0.0, seconds - load.over)
                )

            return until(end) - until(begin)
        case _:
            return load_at(load, start, begin, leased=leased) * (end - begin)
