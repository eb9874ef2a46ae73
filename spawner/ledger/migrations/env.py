"""Alembic's entry: runs the migrations on the connection that `spawner.ledger.schema` gives it."""

from alembic import context

from spawner.ledger.schema import VERSION_TABLE
from spawner.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite changes few things of a table that is there
    transactional_ddl=True,  # in SQLite as well, since we begin its transactions ourselves
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
