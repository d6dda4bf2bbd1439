"""How an older database becomes one of today (Alembic): `env.py` is its entry, `versions/` holds a step each."""
