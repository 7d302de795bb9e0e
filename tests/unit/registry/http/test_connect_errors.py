"""What goes wrong before a registry can answer."""

import socket

import pytest

from image_syncer.errors import Unavailable, UnknownHost
from image_syncer.registry.http.connect_errors import explain_resolving


@pytest.mark.parametrize(("code", "kind"), [(socket.EAI_NONAME, UnknownHost), (socket.EAI_AGAIN, Unavailable)])
def test_a_name_that_does_not_exist_is_final_and_a_silent_server_is_not(code: int, kind: type) -> None:
    """Nobody waits for retries after a misspelt registry; the message says what to look at."""
    trouble = explain_resolving(socket.gaierror(code, "said so"), "registry.example.com")
    assert type(trouble) is kind
    assert "registry.example.com" in trouble.message
    assert trouble.retryable is (kind is Unavailable)
