"""``berth db``: the ledger's database, made, upgraded, looked at."""

import click

from ..errors import BerthError, LedgerUnavailable
from ..ledger import Ledger, schema
from ..ledger.connect import describe, parse
from .deployment import Deployment
from .output import Output, json_option


@click.group()
def db() -> None:
    """Make, upgrade or check the ledger: the database of GPUs, leases, quotas and accounting."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the ledger to this version's schema; makes it where there is none. `make up` does so by itself."""
    output = Output(as_json)
    deployment = Deployment.load()
    if deployment.settings.database_url is None:
        deployment.state.create()
    ledger = Ledger(deployment.ledger_url)
    place = describe(parse(deployment.ledger_url))
    try:
        ledger.upgrade()
    except OSError as error:
        raise LedgerUnavailable(f"The ledger {place} cannot be made: {error.strerror}.") from None
    finally:
        ledger.close()
    output.say(f"The ledger {place} has schema {schema.head()}, which is this version's.")
    output.data({"ledger": place, "schema": schema.head()})


@db.command()
@json_option
def status(as_json: bool) -> None:
    """Say where the ledger is, and whether it answers and has this version's schema."""
    output = Output(as_json)
    deployment = Deployment.load()
    place = parse(deployment.ledger_url)
    error: BerthError | None = None
    try:
        deployment.desk()
    except BerthError as found:
        error = found
    output.data(
        {
            "ledger": describe(place),
            "kind": place.get_backend_name(),
            "expected": schema.head(),
            "ready": error is None,
            "error": {"code": error.code, "message": str(error)} if error else None,
        }
    )
    if not as_json:
        said = f"schema {schema.head()}, which is this version's" if error is None else str(error)
        output.table([("Ledger", describe(place)), ("State", said)])
