"""The daemon under stress: killed, without its database, in a fleet, under load. `script/stress` runs it."""
