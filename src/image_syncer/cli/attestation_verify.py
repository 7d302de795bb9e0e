"""The command `attestation verify`: where a copy came from, by the signed statement that is attached to it."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_syncer.app import Options, open_app
from image_syncer.cli.console import write_result
from image_syncer.cli.formatting import printable
from image_syncer.cli.log import command_log
from image_syncer.cli.options import OutputOptions
from image_syncer.cli.output import Line, show
from image_syncer.cli.references import parse_source
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.go_tool.auth_file import load_auth
from image_syncer.errors import UsageError
from image_syncer.trust.trust_settings import KEY_LIMIT_BYTES

if TYPE_CHECKING:  # The libraries of the extra may not be installed.
    from image_syncer.trust.attestation import CopyStatement


def verify(reference: str, key: Path, auth: Path | None, output: OutputOptions) -> int:
    """Write the statements about the copy *reference* that *key* has signed to stdout; `NotTrusted` without any."""
    wanted = parse_source(reference)
    pem = _read(key)
    options = Options(access=load_auth(auth, environment=os.environ) if auth else ())

    async def read() -> Sequence["CopyStatement"]:
        async with open_app(options) as syncer:
            return await syncer.attestations(wanted, pem, str(key))

    with command_log(output, {}):
        found = run_unless_interrupted(read())
    if output.output == "json":
        described = {"reference": str(wanted), "attestations": [_as_json(one) for one in found]}
        write_result([json.dumps(described, indent=2), "\n"])
    else:
        show(_as_text(str(wanted), found))
    return 0


def _read(key: Path) -> bytes:
    try:
        with key.open("rb") as file:
            return file.read(KEY_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{key}: {error.strerror}", remedy="give the file of the public key in PEM") from None


def _as_text(reference: str, found: Sequence["CopyStatement"]) -> Iterator[Line]:
    yield Line()
    yield Line(((printable(reference), "bold"), (f"  {found[0].digest}", "cyan")))
    for one in found:
        rows = (
            ("copied from", one.source_reference),
            ("", one.source_digest),
            ("at", one.copied_at),
            ("by rule", f"{one.rule}, with {one.tool}"),
            ("verified", ", ".join(one.verified) or "nothing: the rule has no `trust`"),
            ("statement", str(one.attached)),
        )
        yield Line()
        for name, value in rows:
            yield Line(((f"  {name:<12}", "dim"), (printable(value), "")))
    yield Line()


def _as_json(one: "CopyStatement") -> dict[str, Any]:
    return {
        "digest": str(one.digest),
        "source": {"reference": one.source_reference, "digest": one.source_digest},
        "target": {"reference": one.target_reference},
        "copied_at": one.copied_at,
        "rule": one.rule,
        "tool": one.tool,
        "verified": list(one.verified),
        "statement": str(one.attached),
    }
