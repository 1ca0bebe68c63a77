"""Alembic's entry: runs revisions on the connection that `shieldwall.state.migrate` hands over."""

from importlib import import_module

from alembic import context

from shieldwall.state.engine import MODEL_MODULES, Base
from shieldwall.state.migrate import render_type

for module in MODEL_MODULES:
    import_module(module)

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=context.config.attributes.get("batch", True),
    render_item=render_type,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
