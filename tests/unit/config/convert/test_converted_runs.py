"""A run of each converted file: the images that its tool would copy arrive at the target."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from image_syncer.app import open_app
from image_syncer.app_options import Options
from image_syncer.config.convert.kinds import convert, write_native
from image_syncer.config.load import load_file
from image_syncer.oci import PlatformFilter
from image_syncer.sync.result import Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import Image, helm_chart, multi, single

FILES = Path(__file__).parent / "files"
PIN = "sha256:" + "0" * 63 + "1"
PINNED = single("pinned")
IMAGES: Mapping[str, tuple[Image, Sequence[str]]] = {
    "team/app": (
        multi("app"),
        ("v1", "v2", "1.0", "1.2.3", "2.0", "latest", "0.1.0", "0.1.1", "1.26.1-glibc", "1.31.2"),
    ),
    "team/tools": (single("tools"), ("v1", "v2", "2.0.0", "2.1.0-alpine", "latest")),
    "base/busybox": (PINNED, ("latest", "pinned-source")),
    "base/alpine": (PINNED, ("latest", "3", "3.12.1", "3.19")),
    "coreos/etcd": (single("etcd"), ("latest", "v3")),
    "chainguard/nginx": (single("nginx"), ("latest", "latest-dev", "1.2.0", "2.0.0")),
    "chainguard/python": (single("python"), ("latest", "latest-dev", "2.9.0")),
    "my-org/my-app": (single("my-app"), ("v1", "v2", "v3-alpha")),
    "staging/app": (PINNED, ("any",)),
    "staging/one": (PINNED, ("any",)),
    "staging/controller": (PINNED, ("any",)),
    "library/alpine": (single("library"), ("3.1", "4")),
    "library/busybox": (single("library"), ("3.2",)),
    "charts/app": (helm_chart("app"), ("1.2.0_build.1",)),
}

EXPECTED = {
    "dregsy-1.yaml": {"archive/team/app:0.1.0", "archive/team/app:0.1.1"},
    "dregsy-2.yaml": {"team/app:latest", "team/app:1.31.2", "team/app:1.26.1-glibc", "team/tools:2.1.0-alpine"},
    "dregsy-3.yaml": {"mirror/team/app:v1", "mirror/team/tools:v1", "apps/app:v1", "base/busybox:pinned"},
    "go-tool-1.yaml": {"team/app:v1", "team/tools:v1", "team/tools:v2", "copies/tools:one", "copies/tools:two"},
    "go-tool-2.json": {"base/alpine:3.19", f"base/busybox@{PINNED.digest}"},
    "harbor-1.json": {"mirror/library/alpine:3.1", "mirror/library/busybox:3.2"},
    "hauler-1.yaml": {"mirror/base/busybox:latest", "mirror/team/app:v1", "mirror/pinned/alpine:3"},
    "hauler-3.yaml": {"mirror/charts/app:1.2.0_build.1"},
    "kpromo-1.yaml": {"prod/app:1.0", "prod/app:latest"},
    "kpromo-3": {"prod/controller:1.0"},
    "list-1.txt": {"mirror/team/app:v1", "mirror/team/app:v2", "mirror/base/busybox:latest"},
    "list-2.txt": {f"mirror/base/alpine@{PINNED.digest}"},
    "oc-mirror-1.yaml": {"mirror/team/app:v1", "mirror/base/pinned:stable"},
    "oc-mirror-2.yaml": {"mirror/team/app:v1"},
    "ocync-1.yaml": {"app:v1", "app:latest"},
    "ocync-2.yaml": {"nginx:latest", "nginx:latest-dev", "nginx:2.0.0", "chainguard/python:2.9.0"},
    "ocync-3.yaml": {"my-app:v1", "my-app:v2"},
    "quay-1.json": {"mirror/team/app:latest", "mirror/team/app:1.2.3"},
    "quay-2.json": {"mirror/base/alpine:3.19"},
    "quay-3.json": {"mirror/team/app:v1", "mirror/team/app:v2"},
    "regsync-1.yaml": {"library/busybox:latest", "library/alpine:latest", "library/alpine:3", "library/alpine:3.19"},
    "regsync-2.yaml": {"team/app:1.2.3", "team/tools:v1", "team/tools:2.0.0"},
    "regsync-3.yaml": {"team/app:v1", "team/tools:v2", "base/busybox:pinned"},
    "skopeo-1.yaml": {"mirror/busybox:latest", "mirror/app:1.0", "mirror/app:2.0", f"mirror/app@{PINNED.digest}"},
    "skopeo-2.yaml": {"mirror/alpine:3.12.1"},
    "skopeo-3.yaml": {"mirror/app:latest", "mirror/etcd:v3"},
}
ABSENT = {
    "dregsy-2.yaml": {"team/app:1.0", "team/tools:v1", "team/tools:2.0.0"},
    "ocync-3.yaml": {"my-app:v3-alpha"},
    "regsync-2.yaml": {"team/app:v2", "team/app:latest"},
    "regsync-3.yaml": {"base/alpine:3"},
    "harbor-1.json": {"mirror/library/alpine:4"},
}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Values for the variables of the files."""
    for name in ("TARGET_USER", "SOURCE_PASSWORD", "TARGET_PASSWORD"):
        monkeypatch.setenv(name, "value")
    (tmp_path / "secret").write_text("value")


def native_of(path: Path, directory: Path, source: FakeRegistry, target: FakeRegistry) -> Path:
    """Return the native file of *path*, with the hosts of the tests instead of those of the examples."""
    text = write_native(convert(path.name.rpartition("-")[0], [path], "target.example.com/mirror"))
    hosts = {"source.example.com": source.host, "other.example.com": source.host, PIN: str(PINNED.digest)}
    for host in ("east.target.example.com", "west.target.example.com", "us.example.com", "eu.example.com"):
        hosts[host] = target.host
    hosts["target.example.com"] = target.host
    for old, new in hosts.items():
        text = text.replace(old, new)
    text = text.replace("/run/secrets/target", str(directory / "secret"))
    file = directory / "native.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", sorted(EXPECTED))
async def test_a_converted_file_copies_what_its_tool_would(name: str, tmp_path: Path) -> None:
    """Each expected image is at the target, with the source's digest."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        for path, (image, tags) in IMAGES.items():
            source.load(path, image, *tags)
        source.load("team/app", PINNED, "for-its-digest")
        loaded = load_file(
            native_of(FILES / name, tmp_path, source, target),
            platforms=PlatformFilter(),
            environment={"TARGET_USER": "u", "SOURCE_PASSWORD": "p", "TARGET_PASSWORD": "p", "TARGET": target.host},
        )
        rules = [rule for rule in loaded.rules if "docker.io" not in str(rule.source)]
        async with open_app(Options(retries=0)) as syncer:
            result = await syncer.sync(rules)
        held = {
            image.target.removeprefix(f"{target.host}/")
            for image in result.results
            if image.outcome in {Outcome.COPIED, Outcome.UNCHANGED}
        }
    assert held >= EXPECTED[name], [image for image in result.results if image.outcome is Outcome.FAILED]
    assert not held & ABSENT.get(name, set())


@pytest.mark.parametrize("path", sorted(FILES.glob("*.native.yaml")), ids=lambda path: path.name)
def test_every_converted_file_is_a_valid_native_file(path: Path, tmp_path: Path) -> None:
    """With its secrets in place."""
    (tmp_path / "charts").mkdir()
    file = tmp_path / "native.yaml"
    file.write_text(path.read_text().replace("/run/secrets/target", str(tmp_path / "secret")))
    environment = {"TARGET_USER": "u", "SOURCE_PASSWORD": "p", "TARGET_PASSWORD": "p", "TARGET": "t.io"}
    load_file(file, platforms=PlatformFilter(), environment=environment)
