"""examples/every-key.yaml has every key of the native file, and loads."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from ruamel.yaml import YAML

from image_syncer.config.load import load_file
from image_syncer.oci import PlatformFilter
from support.sigstore_instance import SigstoreInstance

ROOT = Path(__file__).parents[3]
FILE = ROOT / "examples" / "every-key.yaml"
SECRET = "0123456789abcdef" * 2
NAMES = ("REGISTRY_PASSWORD", "CONTROL_PASSWORD", "HOOK_SECRET", "RABBIT_PASSWORD", "OPERATOR_PASSWORD", "API_TOKEN")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the file, beside the files that it names."""
    for name in ("every-key.yaml", "image-lists.yaml"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "attest.key").write_bytes(private)
    (tmp_path / "cosign.pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "trusted_root.json").write_bytes(SigstoreInstance().trusted_root)
    (tmp_path / "digests.txt").write_text(f"sha256:{64 * '0'}\n")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = authority.issue_cert("client.example.com")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    return tmp_path / "every-key.yaml"


def test_the_file_loads(copied: Path) -> None:
    """Each key has a valid value."""
    loaded = load_file(copied, platforms=PlatformFilter(), environment=dict.fromkeys(NAMES, SECRET))
    assert len(loaded.rules) >= 9
    assert {"pubsub", "ecr", "nexus"} <= {hook.kind for hook in loaded.hooks}


def test_the_file_has_every_key() -> None:
    """A key that is added to the model is added to the example."""
    schema = json.loads((ROOT / "examples" / "image-syncer.schema.json").read_text())
    written = set(_keys(cast("Any", YAML(typ="safe")).load(FILE)))
    missing = set(schema["properties"]) - written
    for name, section in schema["$defs"].items():
        if name != "DefaultsSection":
            missing |= {f"{name}.{key}" for key in section.get("properties", {}) if key not in written}
    assert not missing


def _keys(value: Any) -> Iterator[str]:
    """Yield the keys of all maps in *value*."""
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _keys(inner)
