"""Checks of registries before a run: connection, login, rights and abilities; they leave nothing behind."""
