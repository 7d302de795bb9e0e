"""Signed tokens in the native file: their required claims, and the source of their keys."""

import re
from typing import Final

from image_syncer.config.documents.source_file import SourceFile, Step, path_text
from image_syncer.config.model import HookKind, TokenClaims
from image_syncer.config.native.native_model import TokenSection
from image_syncer.errors import StoreError, UsageError
from image_syncer.registry.http.urls import is_tamper_proof

_KINDS: Final[frozenset[HookKind]] = frozenset({"acr", "pubsub"})
_ADDRESS: Final = re.compile(r"[\x21-\x7e]+")


def parse_token(section: TokenSection, kind: HookKind, place: tuple[Step, ...], config_file: SourceFile) -> TokenClaims:
    """Return the required claims for a sender of *kind*; `UsageError` if other senders could satisfy them."""
    if kind not in _KINDS:
        raise UsageError(f"{path_text(place)}: {kind} sends no tokens; {' and '.join(sorted(_KINDS))} do")
    if kind == "acr" and section.issuer is None:
        raise config_file.error_at(
            "issuer is missing", place, "for Entra ID https://login.microsoftonline.com/TENANT/v2.0"
        )
    if kind == "pubsub" and section.email is None:
        # Every Google account can get tokens for this audience.
        raise config_file.error_at("email is missing", place, "the service account of the push subscription")
    return TokenClaims(
        config_file.substitute(section.audience, *place, "audience"),
        None if section.email is None else config_file.substitute(section.email, *place, "email"),
        None if section.issuer is None else _address(section.issuer, (*place, "issuer"), config_file, without="?#"),
        None if section.keys is None else _address(section.keys, (*place, "keys"), config_file, without="#"),
    )


def _address(text: str, place: tuple[Step, ...], config_file: SourceFile, *, without: str) -> str:
    """Return the URL *text* with its variables replaced; an error if its answers could be tampered with."""
    address = config_file.substitute(text, *place)
    try:
        usable = _ADDRESS.fullmatch(address) and not set(without) & set(address) and is_tamper_proof(address)
    except StoreError:
        usable = False
    if not usable:  # The error does not show the text, which may contain a login.
        raise config_file.error_at("not a usable https URL", place, "https://host/path; http only for this machine")
    return address
