"""Run by Alembic with the connection, and inside the transaction, of `image_syncer.state.migrate`."""

from alembic import context

from image_syncer.state.revisions import VERSION_TABLE
from image_syncer.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
