"""Converts the configuration files of other tools to the native file, and tells what it could not carry over."""
