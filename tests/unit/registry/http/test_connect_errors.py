"""Errors before a registry can respond."""

import socket

import pytest

from image_syncer.errors import Unavailable, UnknownHost
from image_syncer.registry.http.connect_errors import explain_resolving


@pytest.mark.parametrize(("code", "kind"), [(socket.EAI_NONAME, UnknownHost), (socket.EAI_AGAIN, Unavailable)])
def test_a_missing_name_is_permanent_and_a_failed_lookup_is_not(code: int, kind: type) -> None:
    """A misspelt registry is not retried, and the message says what to check."""
    trouble = explain_resolving(socket.gaierror(code, "said so"), "registry.example.com")
    assert type(trouble) is kind
    assert "registry.example.com" in trouble.message
    assert trouble.retryable is (kind is Unavailable)
