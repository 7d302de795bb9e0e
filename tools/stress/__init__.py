"""Daemons and one-shot runs under stress: killed, cut off, under load. `script/stress` runs it."""
