"""The daemon over HTTP: hooks, API, pages, probes and metrics. What it needs from below is handed in (`backend`)."""
