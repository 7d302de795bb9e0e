"""Alembic's migrations of the state. They only add: an older process may still be at work beside a newer one."""
