"""Make the signatures of tests/data/cosign with cosign, and with oras for what is unsigned.

    python3 tools/cosign_fixtures.py COSIGN ORAS REGISTRY

REGISTRY is the address of an empty registry on plain HTTP without the referrers API (docker-registry, distribution).
Each run makes new key pairs; only their public halves are stored. Each case is a directory with the manifests and blobs
by their digests, and `attached.json`: the entries of the tag-schema index, and cosign's legacy tags. All cases are of
one image, except for `other-image`.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1] / "tests" / "data" / "cosign"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
ACCEPT: Final = f"{OCI_INDEX}, {OCI_MANIFEST}"
LEGACY: Final = ("--new-bundle-format=false",)
SPDX: Final[dict[str, Any]] = {
    "spdxVersion": "SPDX-2.3",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": "app",
    "dataLicense": "CC0-1.0",
    "documentNamespace": "https://example.com/app",
    "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: hand"]},
    "packages": [],
}
PROVENANCE: Final[dict[str, Any]] = {
    "buildDefinition": {"buildType": "https://example.com/build/v1", "externalParameters": {}},
    "runDetails": {"builder": {"id": "https://example.com/builder@v1"}},
}


def sarif(score: str) -> dict[str, Any]:
    """Return a report with one finding of that CVSS score."""
    rule = {"id": "CVE-2026-0001", "properties": {"security-severity": score}}
    result = {"ruleId": "CVE-2026-0001", "ruleIndex": 0, "message": {"text": "found"}}
    return {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "scan", "rules": [rule]}}, "results": [result]}]}


class Maker:
    """Signs images in *registry* with keys in the directory *home*."""

    def __init__(self, cosign: str, oras: str, registry: str, home: Path) -> None:
        self._cosign, self._oras, self._registry, self._home = cosign, oras, registry, home
        self._environment = os.environ | {"COSIGN_PASSWORD": "test", "HOME": str(home)}

    def run(self, *command: str) -> None:
        """Run *command* in the directory of the keys."""
        subprocess.run(command, cwd=self._home, env=self._environment, check=True, capture_output=True)

    def key_pair(self, name: str) -> None:
        """Make a key pair, and keep its public half."""
        self.run(self._cosign, "generate-key-pair", f"--output-key-prefix={name}")
        (ROOT / f"{name}.pub").write_bytes((self._home / f"{name}.pub").read_bytes())

    def image(self, case: str, text: str = "hello\n") -> str:
        """Push an image, always of the same bytes for the same *text*; return its digest."""
        layer = self._push_blob(case, text.encode())
        config = self._push_blob(
            case, b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        )
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer}],
        }
        self._send("PUT", f"{case}/manifests/v1", json.dumps(document).encode(), OCI_MANIFEST)
        return _sha256(json.dumps(document).encode())

    def sign(self, case: str, key: str, *options: str) -> None:
        """Sign the image of *case* (or what *case* names by its digest)."""
        self._with_key("sign", key, *options, case)

    def attest(self, case: str, key: str, kind: str, predicate: object, *options: str) -> None:
        """Attach a signed statement about the image of *case*."""
        file = self._home / "predicate.json"
        file.write_text(json.dumps(predicate))
        self._with_key("attest", key, f"--type={kind}", f"--predicate={file}", *options, case)

    def attach(self, case: str, artifact_type: str, document: object) -> None:
        """Attach an unsigned document."""
        (self._home / "document.json").write_text(json.dumps(document))
        kind = f"--artifact-type={artifact_type}"
        self.run(self._oras, "attach", "--plain-http", kind, self._name(case), f"document.json:{artifact_type}")

    def save(self, case: str) -> None:
        """Store what is attached to the image of *case*, and to that."""
        directory = ROOT / case
        directory.mkdir(parents=True, exist_ok=True)
        subject = _sha256(self.get(f"{case}/manifests/v1"))
        attached = self._attached(case, subject, directory)
        described = {"subject": subject, "attached": attached}
        (directory / "attached.json").write_text(json.dumps(described, indent=1) + "\n")

    def _attached(self, case: str, subject: str, directory: Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        tag = subject.replace(":", "-")
        index = self.get(f"{case}/manifests/{tag}")
        for entry in json.loads(index or b"{}").get("manifests", ()):
            found.append({"subject": subject, "entry": entry})
            self._save_manifest(case, entry["digest"], directory)
            found += self._attached(case, entry["digest"], directory)
        for suffix in ("sig", "att", "sbom"):
            content = self.get(f"{case}/manifests/{tag}.{suffix}")
            if content:
                entry: dict[str, Any] = {"mediaType": OCI_MANIFEST, "digest": _sha256(content), "size": len(content)}
                found.append({"subject": subject, "entry": entry, "tag": f"{tag}.{suffix}"})
                self._save_manifest(case, entry["digest"], directory)
        return found

    def _save_manifest(self, case: str, digest: str, directory: Path) -> None:
        content = self.get(f"{case}/manifests/{digest}")
        (directory / digest.partition(":")[2]).write_bytes(content)
        for layer in json.loads(content)["layers"]:
            blob = self.get(f"{case}/blobs/{layer['digest']}")
            (directory / layer["digest"].partition(":")[2]).write_bytes(blob)

    def _with_key(self, command: str, key: str, *arguments: str) -> None:
        *options, case = arguments
        common = (f"--key={key}.key", "--use-signing-config=false", "--tlog-upload=false", "--yes")
        self.run(self._cosign, command, *common, "--allow-http-registry", *options, self._name(case))

    def _name(self, case: str) -> str:
        if "@" in case:
            return f"{self._registry}/{case}"
        return f"{self._registry}/{case}@{_sha256(self.get(f'{case}/manifests/v1'))}"

    def _push_blob(self, case: str, content: bytes) -> dict[str, Any]:
        digest = _sha256(content)
        location = self._send("POST", f"{case}/blobs/uploads/", b"", "")
        self._send("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content, "")
        return {"digest": digest, "size": len(content)}

    def _send(self, method: str, path: str, content: bytes, kind: str) -> str:
        url = path if path.startswith("http") else f"http://{self._registry}/v2/{path}"
        headers = {"Content-Type": kind or "application/octet-stream"}
        with urllib.request.urlopen(urllib.request.Request(url, content, headers, method=method)) as response:  # noqa: S310 - a registry of our own
            return response.headers.get("Location", "")

    def get(self, path: str) -> bytes:
        """Return what the registry has at *path*; empty if it has nothing."""
        request = urllib.request.Request(f"http://{self._registry}/v2/{path}", headers={"Accept": ACCEPT})
        try:
            with urllib.request.urlopen(request) as response:  # noqa: S310 - see above
                return response.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:  # noqa: PLR2004 - Not Found
                return b""
            raise


def main(arguments: Sequence[str]) -> None:
    """Make every case."""
    cosign, oras, registry = arguments
    ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        maker = Maker(os.path.abspath(cosign), os.path.abspath(oras), registry, Path(home))  # noqa: PTH100 - plain text
        maker.key_pair("release")
        maker.key_pair("stranger")
        for case in ("bundle", "legacy", "stranger-bundle", "stranger-legacy", "facts", "legacy-facts", "scan-high"):
            maker.image(case)
        maker.sign("bundle", "release")
        maker.sign("legacy", "release", *LEGACY)
        maker.sign("stranger-bundle", "stranger")
        maker.sign("stranger-legacy", "stranger", *LEGACY)
        maker.sign("facts", "release")
        maker.attest("facts", "release", "spdxjson", SPDX)
        maker.attest("facts", "release", "slsaprovenance1", PROVENANCE)
        maker.attest("facts", "release", "https://example.com/sarif/v1", sarif("5.0"))
        maker.sign("legacy-facts", "release", *LEGACY)
        maker.attest("legacy-facts", "release", "spdxjson", SPDX, *LEGACY)
        maker.sign("scan-high", "release")
        maker.attest("scan-high", "release", "https://example.com/sarif/v1", sarif("8.1"))
        _unsigned_cases(maker)
        maker.image("other-image", "another\n")
        maker.sign("other-image", "release")
        maker.sign("other-image", "release", *LEGACY)
        for case in ("bundle", "legacy", "stranger-bundle", "stranger-legacy", "facts", "legacy-facts", "scan-high"):
            maker.save(case)
        for case in ("unsigned-sbom", "signed-sbom", "other-image"):
            maker.save(case)


def _unsigned_cases(maker: Maker) -> None:
    """An SBOM without a signature beside a signature of the image; and one with a signature of its own."""
    for case in ("unsigned-sbom", "signed-sbom"):
        digest = maker.image(case)
        maker.attach(case, "application/spdx+json", SPDX)
        index = maker.get(f"{case}/manifests/{digest.replace(':', '-')}")
        maker.sign(case, "release")
        if case == "signed-sbom":
            maker.sign(f"{case}@{json.loads(index)['manifests'][0]['digest']}", "release")


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


if __name__ == "__main__":
    main(sys.argv[1:])
