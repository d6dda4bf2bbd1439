"""Alembic's entry: the steps run in the transaction that `paragone.arena.migrate` opened."""

from __future__ import annotations

from alembic import context

from paragone.arena.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
