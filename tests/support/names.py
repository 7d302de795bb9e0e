"""Host names as `socket.getaddrinfo` gets them."""


def as_text(name: str | bytes) -> str:
    """Return *name* as text: our client passes ASCII names as bytes."""
    return name.decode() if isinstance(name, bytes) else name
