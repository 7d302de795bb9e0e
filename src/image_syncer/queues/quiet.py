"""What the libraries of brokers log stays off stderr: what matters has events of ours, and theirs name addresses."""

import logging
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet(*loggers: str) -> Generator[None]:
    """Give *loggers* somewhere to write to, so that nothing of them goes to stderr for want of it."""
    handlers = {name: logging.NullHandler() for name in loggers}
    for name, handler in handlers.items():
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name, handler in handlers.items():
            logging.getLogger(name).removeHandler(handler)
