"""Each converted file runs between real registries: what its tool would copy arrives, byte for byte.

The files are those of tests/unit/config/convert/files, which also say what of each is lost. Rules that only events
trigger run in a daemon that learns of a push.
"""

import base64
import json
import re
import shutil
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from image_syncer.cli.main import main
from image_syncer.config.convert.kinds import convert, write_native
from image_syncer.oci import Digest
from image_syncer.structs import Struct
from image_syncer.testing.images import Image, helm_chart, multi, single
from support.daemons import run_daemon, wait_for
from support.docker_registry import DockerProfile, DockerRegistry
from support.ports import free_port
from support.registry_http import Peer
from unit.events.payloads import DIGEST, HARBOR
from unit.image_sources.test_image_reader import packed

FILES = Path(__file__).parents[1] / "unit" / "config" / "convert" / "files"
PINS = {f"sha256:{number:064}": single(f"pinned {number}") for number in (1, 2, 3)}
PINNED, SECOND, THIRD = PINS.values()
APP = multi("app")
APP_TAGS = ("v1", "v2", "1.0", "1.2.3", "2.0", "latest", "0.1.0", "0.1.1", "1.26.1-glibc", "1.31.2")
IMAGES: Sequence[tuple[str, Image, Sequence[str]]] = [
    ("team/app", APP, APP_TAGS),
    ("team/app", PINNED, ("v3-rc1",)),
    ("team/tools", multi("tools"), ("v1", "v2", "2.0.0", "2.1.0-alpine", "latest")),
    ("base/busybox", multi("busybox"), ("latest",)),
    ("base/busybox", PINNED, ()),
    ("base/alpine", multi("alpine"), ("latest", "3", "3.0", "3.12.1", "3.19")),
    ("base/alpine", PINNED, ()),
    ("coreos/etcd", single("etcd"), ("latest", "v3", "v3.5.0")),
    ("chainguard/nginx", multi("nginx"), ("latest", "latest-dev", "1.2.0", "2.0.0", "2.0.0-debug", "3.1.0")),
    ("chainguard/python", multi("python"), ("latest", "latest-dev", "2.9.0", "2.9.0-slim")),
    ("my-org/my-app", single("my-app"), ("v1", "v2", "v3-alpha")),
    ("staging/app", PINNED, ()),
    ("staging/controller", PINNED, ()),
    ("staging/one", PINNED, ()),
    ("staging/one", SECOND, ()),
    ("staging/two", THIRD, ()),
    ("library/alpine", single("library alpine"), ("3.1", "4")),
    ("library/busybox", single("library busybox"), ("3.2",)),
    ("library/nginx", multi("library nginx"), ("1.27", "stable")),
    ("charts/app", helm_chart("app"), ("1.2.0_build.1",)),
]
TARGETS = ("target.example.com", "east.target.example.com", "us.example.com")
SECOND_TARGETS = ("west.target.example.com", "eu.example.com")

ALL_TOOLS = "tools:{v1,v2,2.0.0,2.1.0-alpine,latest}"
ALL_APP = "app:{v1,v2,1.0,1.2.3,2.0,latest,0.1.0,0.1.1,1.26.1-glibc,1.31.2,v3-rc1}"
EXPECTED = {
    "dregsy-1": "T/archive/team/app:{0.1.0,0.1.1} T/base/busybox:latest",
    "dregsy-2": "T/team/app:{latest,1.31.2,1.26.1-glibc} T/team/tools:2.1.0-alpine",
    "dregsy-3": f"T/mirror/team/{ALL_APP} T/apps/{ALL_APP} T/mirror/team/{ALL_TOOLS} T/base/busybox:pinned",
    "go-tool-1": f"T/team/{ALL_APP} T/team/tools:{{v1,v2}} T/copies/tools:{{one,two}}",
    "go-tool-2": f"T/base/alpine:{{3.0,3.19}} T/base/busybox@{PINNED.digest} T/library/nginx:1.27",
    "harbor-1": "T/mirror/library/alpine:3.1 T/mirror/library/busybox:3.2",
    "harbor-3": "T/hub/nginx:{1.27,stable}",
    "hauler-1": "T/mirror/base/busybox:latest T/mirror/team/app:v1 T/mirror/pinned/alpine:3",
    "hauler-2": "T/mirror/team/app:v1 T/mirror/team/tools:v1",
    "hauler-3": "T/mirror/charts/app:1.2.0_build.1",
    "kpromo-1": "T/prod/app:{1.0,latest}",
    "kpromo-2": f"{{T,U}}/prod/one:{{1.0,2.0}} {{T,U}}/prod/two@{THIRD.digest}",
    "kpromo-3": "T/prod/controller:1.0",
    "list-1": "T/mirror/team/app:{v1,v2} T/mirror/base/busybox:latest",
    "list-2": f"T/mirror/base/alpine@{PINNED.digest}",
    "list-3": "T/mirror/library/nginx:1.27 T/mirror/coreos/etcd:v3.5.0",
    "oc-mirror-1": "T/mirror/team/app:v1 T/mirror/base/pinned:stable",
    "oc-mirror-2": "T/mirror/team/app:v1",
    "ocync-1": "T/app:{v1,v2,1.0,1.2.3,2.0,latest,0.1.0,0.1.1,1.26.1-glibc,1.31.2}",
    "ocync-2": "{T,U}/nginx:{latest,latest-dev,1.2.0,2.0.0} U/chainguard/python:{latest,latest-dev,2.9.0}",
    "ocync-3": "T/my-app:{v1,v2}",
    "quay-1": "T/mirror/team/app:{latest,1.0,1.2.3,1.26.1-glibc,1.31.2}",
    "quay-2": "T/mirror/base/alpine:{3.0,3.12.1,3.19}",
    "quay-3": "T/mirror/team/app:{v1,v2}",
    "regsync-1": "T/library/busybox:latest T/library/alpine:{latest,3,3.19}",
    "regsync-2": "T/team/app:{v1,1.0,1.2.3,1.31.2} T/team/tools:{v1,v2,2.0.0}",
    "regsync-3": "T/team/app:{v1,v2} T/team/tools:{v1,v2} T/base/busybox:pinned",
    "skopeo-1": f"T/mirror/busybox:latest T/mirror/app:{{1.0,2.0}} T/mirror/app@{PINNED.digest}",
    "skopeo-2": "T/mirror/alpine:{3.12.1,3.19}",
    "skopeo-3": "T/mirror/app:latest T/mirror/etcd:{latest,v3}",
}
"""The targets of each file that `sync` runs; T and U are the registries, braces hold alternatives."""


TRIMMED = {
    "dregsy-1": "/busybox:",
    "hauler-1": "/team/app:",
    "oc-mirror-2": "/team/app:",
    "ocync-2": ":",
    "regsync-2": "/team/app:",
}
"""A part of the targets that get an index with fewer platforms, and so another digest."""


class World(Struct):
    """The registries of this module: one to copy from, two to copy to."""

    source: Peer
    target: Peer
    second: Peer

    def hosts(self, name: str) -> dict[str, str]:
        """Return the hosts that the file *name* has, with those that take their place."""
        hosts: dict[str, str] = dict.fromkeys(("source.example.com", "docker.io", "quay.io"), self.source.host)
        hosts.update(dict.fromkeys(TARGETS, self.target.host), **dict.fromkeys(SECOND_TARGETS, self.second.host))
        hosts["other.example.com"] = self.second.host if name.startswith(("fork", "harbor")) else self.source.host
        if name == "harbor-2":  # It pushes what is in the Harbor that exported the file.
            hosts["target.example.com"] = self.source.host
        return hosts

    def expand(self, text: str) -> set[str]:
        """Return the references that *text* stands for."""
        found = list(text.split())
        while any("{" in one for one in found):
            found = [
                f"{start}{choice}{end}" if braces else one
                for one in found
                for start, braces, rest in [one.partition("{")]
                for choices, _, end in [rest.partition("}")]
                for choice in choices.split(",")
            ]
        hosts = {"T": self.target.host, "U": self.second.host}
        return {f"{hosts[one[0]]}{one[1:]}" for one in found}


@pytest.fixture(scope="module")
def registries() -> Generator[tuple[DockerRegistry, ...]]:
    """Three real registries; the first has the images."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as source, DockerRegistry() as target, DockerRegistry() as second:
        for path, image, tags in IMAGES:
            Peer(source.host).push(path, image, *tags)
        yield source, target, second


@pytest.fixture
def world(registries: tuple[DockerRegistry, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """The registries, with nothing at the targets, and values for the variables of the files."""
    for registry in registries[1:]:
        shutil.rmtree(registry.storage / "docker", ignore_errors=True)
    world = World(*(Peer(registry.host) for registry in registries))
    values = dict.fromkeys(("TARGET_USER", "SOURCE_PASSWORD", "TARGET_PASSWORD"), "value")
    for name, value in (values | {"TARGET": world.target.host, "HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "secret").write_text("value")
    monkeypatch.chdir(tmp_path)
    return world


def native_of(name: str, world: World) -> str:
    """Return the native file of the file *name*, with the hosts of the tests instead of those of the examples."""
    path = next(path for path in FILES.iterdir() if path.stem == name)
    text = write_native(convert(name.rpartition("-")[0], [path], "target.example.com/mirror"))
    pins = {pin: str(image.digest) for pin, image in PINS.items()}
    # The longest first, since some end with others.
    for old, new in sorted((world.hosts(name) | pins).items(), key=lambda pair: -len(pair[0])):
        text = text.replace(old, new)
    return text.replace("/run/secrets/target", "secret")


def sync(native: str) -> dict[str, Any]:
    """Run *native* to its end without a failure, and return the entries of the report by target."""
    Path("native.yaml").write_text(native)
    options = ("--report", "report.json", "--state", "none", "--retries", "0", "--quiet")
    assert main(["sync", "-c", "native.yaml", *options]) == 0
    images = json.loads(Path("report.json").read_text())["images"]
    assert {image["outcome"] for image in images} <= {"copied", "unchanged"}
    return {image["target"]: image for image in images}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_converted_file_copies_what_its_tool_would(name: str, world: World) -> None:
    """Exactly these images, and the bytes that the registry then has are those that the source has."""
    copied = sync(native_of(name, world))
    assert set(copied) == world.expand(EXPECTED[name])
    assert_held(copied, world, trimmed=TRIMMED.get(name, "nothing"))


def assert_held(copied: Mapping[str, Any], world: World, *, trimmed: str = "nothing") -> None:
    """Assert that the targets have the manifests that the report names, which are those of the source."""
    loaded = {f"{path}:{tag}": image.digest for path, image, tags in IMAGES for tag in tags}
    loaded |= {f"{path}@{image.digest}": image.digest for path, image, _ in IMAGES}
    for target, entry in copied.items():
        host, _, rest = target.partition("/")
        path, identifier = rest.split("@") if "@" in rest else rest.split(":")
        content = Peer(host).manifest(path, identifier)
        assert content is not None
        assert str(Digest.of(content)) == entry["target_digest"]
        assert entry["source_digest"] == str(loaded[entry["source"].partition("/")[2]])
        assert (entry["source_digest"] == entry["target_digest"]) == (trimmed not in target)


def test_a_local_chart_of_oc_mirror_gives_its_images(world: World) -> None:
    """The chart is where the file says; charts over HTTP and blocked images are reported as lost."""
    annotations = {"helm.sh/images": f"- image: {world.source.host}/team/app:v1\n"}
    chart = {"apiVersion": "v2", "name": "local", "version": "1.0.0", "annotations": annotations}
    Path("charts").mkdir()
    Path("charts/local-1.0.0.tgz").write_bytes(packed({"local/Chart.yaml": json.dumps(chart)}))
    copied = sync(native_of("oc-mirror-3", world))
    assert set(copied) == {f"{world.target.host}/mirror/team/app:v1"}
    assert_held(copied, world)


def test_logins_of_the_go_tool_serve_the_rules_of_another_file(world: World) -> None:
    """A file of logins alone has no rule, so it copies nothing; a file that includes it has its logins."""
    with DockerRegistry(DockerProfile(passwords={"value": "a$b"})) as private:
        logins = native_of("go-tool-3", world).replace(world.target.host, private.host)
        assert not sync(logins)
        Path("logins.yaml").write_text(logins)
        rule = f"{{name: app, source: {world.source.host}/team/app, tags: v1, targets: {private.host}/team/app}}"
        assert set(sync(f"version: 1\ninclude: logins.yaml\nrules: [{rule}]\n")) == {f"{private.host}/team/app:v1"}
        assert main(["sync", "-c", "native.yaml", "--state", "none", "--quiet"]) == 0


def test_a_push_runs_the_routes_of_the_fork(world: World) -> None:
    """With the login of the file."""
    with serving(native_of("fork-1", world)) as port:
        assert post(port, "/hooks/push", {"name": f"{world.source.host}/team/app", "tag": "v1"}, "hook:secret") == 202
        wait_for(lambda: world.target.manifest("team/app", "v1") is not None)
    assert world.target.manifest("team/app", "v1") == APP.root.content
    assert world.target.tags("team/app") == ["v1"]


def test_a_push_runs_the_routes_of_the_fork_for_two_targets(world: World) -> None:
    """Without a login, as the file says; the index is trimmed to the platforms that the file filters by."""
    with serving(native_of("fork-2", world)) as port:
        assert post(port, "/hooks/push", {"name": f"{world.source.host}/base/alpine", "tag": "3.19"}) == 202
        wait_for(lambda: world.target.manifest("mirror/base/alpine", "3.19") is not None)
        wait_for(lambda: world.second.manifest("base/alpine", "3.19") is not None)
    for content in (world.target.manifest("mirror/base/alpine", "3.19"), world.second.manifest("base/alpine", "3.19")):
        platforms = [entry["platform"]["architecture"] for entry in json.loads(content or b"")["manifests"]]
        assert platforms == ["amd64", "arm64"]


def test_a_file_of_the_fork_without_a_route_listens_all_the_same(world: World) -> None:
    """It connects to the queue of the file, and accepts a push that no rule wants."""
    with socket.create_server(("127.0.0.1", 0)) as broker:
        address = f"127.0.0.1:{broker.getsockname()[1]}"
        with serving(native_of("fork-3", world).replace("rabbit.example.com:5672", address)) as port:
            assert post(port, "/hooks/push", {"name": f"{world.source.host}/team/app", "tag": "v1"}) == 202
            broker.settimeout(60)
            with broker.accept()[0] as connection:
                assert connection.recv(4) == b"AMQP"
    assert not world.target.tags("team/app")


def test_an_event_of_harbor_runs_its_policy_once_it_has_a_hook(world: World) -> None:
    """The conversion says that hooks: and server: are missing; with them a push is copied, and a candidate is not."""
    hooks = f"hooks: {{harbor: {{kind: harbor, registry: '{world.source.host}', allow_open: true}}}}\n"
    server = "server:\n  listen: ':8080'\n  allow_open: true\n"
    event = json.dumps(HARBOR).replace("harbor.example.com", world.source.host).replace(DIGEST, str(APP.digest))
    with serving(native_of("harbor-2", world) + hooks + server) as port:
        for tag in ("v3-rc1", "v1"):
            assert post(port, "/hooks/harbor", json.loads(event.replace("1.4.2", tag))) == 202
        wait_for(lambda: world.second.manifest("team/app", "v1") is not None)
    assert world.second.tags("team/app") == ["v1"]
    assert world.second.manifest("team/app", "v1") == APP.root.content


@contextmanager
def serving(native: str) -> Generator[int]:
    """Run the daemon with the file *native*, and yield its port."""
    port = free_port()
    Path("native.yaml").write_text(re.sub(r"listen: .*", f"listen: 127.0.0.1:{port}", native))
    with run_daemon(Path.cwd(), port, "serve", "-c", "native.yaml", "--log", "daemon.log"):
        yield port


def post(port: int, path: str, body: object, login: str = "") -> int:
    """Send *body* as JSON with *login* (`user:password`), and return the status."""
    headers = {"Content-Type": "application/json"}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers), timeout=30) as response:
        return response.status


def test_no_file_is_forgotten() -> None:
    """Each has a run of its own, or a test that names it."""
    others = set(re.findall(r'native_of\("([\w-]+)", world\)', Path(__file__).read_text()))
    files = {path.stem for path in FILES.iterdir() if not path.name.endswith(".native.yaml")}
    assert files == EXPECTED.keys() | others
    assert len(files) == 36
