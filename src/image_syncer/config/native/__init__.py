"""Our own configuration file, `version: 1`."""
