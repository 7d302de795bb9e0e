"""Concurrency primitives: semaphores, single flight, bounded task pools, back-off and interruptible sleep."""
