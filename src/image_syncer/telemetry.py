"""What we report: logs as events."""
