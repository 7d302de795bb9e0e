"""Free loopback ports."""

import socket


def free_port() -> int:
    """Return a loopback port that was free a moment ago; the caller must be ready to try another if its bind fails."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
