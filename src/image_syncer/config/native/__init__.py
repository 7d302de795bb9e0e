"""The native configuration file, `version: 1`."""
