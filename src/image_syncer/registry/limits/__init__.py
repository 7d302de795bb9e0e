"""Limits per registry: concurrency, quotas, circuit breaker and retries."""
