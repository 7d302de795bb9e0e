"""The daemon: builds the server, the worker and the background tasks, and runs them until a stop is requested."""
