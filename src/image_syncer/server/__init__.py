"""The daemon's HTTP server: webhooks, API, pages, probes and metrics. The daemon passes in the rest (`web_backend`)."""
