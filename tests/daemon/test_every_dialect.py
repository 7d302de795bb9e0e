"""Every dialect with a proof of its sender, over real HTTP to a daemon: from the recorded shape to a copy that is made.

pytest tests/daemon/test_every_dialect.py -s prints what each of them got as a table.
"""

import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from image_syncer.events import DIALECTS
from image_syncer.testing import Image
from image_syncer.testing.images import multi
from support.daemons import wait_for
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.registry_http import Peer
from support.senders import Address, Header, Login, Message, Proof, Signature, as_configured, proven, retold
from support.sites import Reply, Site, native_file, run_site
from unit.events.payloads import SAMPLES, Sample
from unit.events.test_ignored import CASES

pytestmark = pytest.mark.real

SECRET: Final = "the-secret-of-every-sender-0123456789"
WRONG: Final = "another-secret-of-the-same-length-123"
PROOFS: Final[dict[str, Proof]] = {
    "distribution": Header(),
    "gitlab": Header(),
    "harbor": Header(),
    "harbor cloudevents": Header(prefix=""),
    "tencent": Header(),
    "huawei": Header(),
    "dockerhub": Address(),
    "quay": Address(),
    "quay old": Address(in_query=True),
    "github": Signature("X-Hub-Signature-256", "sha256="),
    "github registry_package": Signature("X-Hub-Signature-256", "sha256="),
    "gitea": Signature("X-Gitea-Signature"),
    "forgejo": Signature("X-Forgejo-Signature"),
    "acr": Header(),
    "acr event grid": Address(in_query=True),
    "acr cloudevents": Header("X-Delivery-Key", ""),
    "alibaba": Address(),
    "ecr": Header("X-Api-Key", ""),
    "ecr cloudevents": Login(),
    "pubsub": Address(),
    "jfrog": Signature("X-JFrog-Event-Auth"),
    "nexus": Signature("X-Nexus-Webhook-Signature", algorithm="sha1"),
    "nexus asset": Signature("X-Nexus-Webhook-Signature", algorithm="sha1"),
    "zot": Login(),
    "zot structured": Header(),
    "cloudevents": Signature("X-Hub-Signature-256", "sha256="),
    "plain": Login(),
}
CONTENT_TYPES: Final = {
    "distribution": "application/vnd.docker.distribution.events.v2+json",
    "gitlab": "application/vnd.docker.distribution.events.v1+json",
    "harbor cloudevents": "application/cloudevents+json",
    "acr cloudevents": "application/cloudevents-batch+json",
    "cloudevents": "application/cloudevents+json",
}
COLUMNS: Final = ("push", "event", "job", "again", "wrong secret", "ignored", "nonsense")
IGNORED: Final = {kind: (body, headers) for kind, body, headers, _ in reversed(CASES)}
DEAD_PROXY: Final = "http://127.0.0.1:9"
every_dialect = pytest.mark.parametrize("name", SAMPLES)


@dataclass(frozen=True)
class Stage:
    """A daemon with a webhook for each sample, a registry that has *image* under all tags, and a target."""

    site: Site
    source: Peer
    target: DockerRegistry
    image: Image
    table: dict[str, dict[str, str]] = field(default_factory=lambda: {name: {} for name in SAMPLES})

    def note(self, name: str, column: str, value: object) -> None:
        """Put a cell into the table."""
        self.table[name][column] = str(value)

    def host(self, sample: Sample) -> str:
        """Return the registry of a sender: the test's own, except for ECR, whose name contains account and region."""
        return sample.registry if sample.kind == "ecr" else self.source.host

    def message(self, name: str, tag: str, secret: str = SECRET) -> Message:
        """Return the notification of *tag* with its proof."""
        sample = SAMPLES[name]
        body = retold(sample, self.host(sample), tag, self.image.root.content)
        return self.proven(name, body, sample.headers, secret)

    def proven(self, name: str, body: bytes, headers: dict[str, str], secret: str = SECRET) -> Message:
        """Return *body* with the proof of the sender *name*."""
        headers = {"content-type": CONTENT_TYPES.get(name, "application/json")} | headers
        return proven(PROOFS[name], secret, Message(f"/hooks/{slug(name)}", headers, body))

    def send(self, message: Message) -> Reply:
        """Send *message* to the daemon."""
        return self.site.post(message.path, message.body, message.headers)

    def events(self, name: str, tag: str) -> list[dict[str, Any]]:
        """Return the events of the hook *name* about *tag*."""
        return [event for event in self.site.entries("events", source=slug(name)) if event["tag"] == tag]

    def jobs(self, name: str, tag: str) -> list[tuple[str, str]]:
        """Return source and target of the jobs for *tag*."""
        found = self.site.entries("jobs", target=self.copy(name, tag)[1])
        return [(job["source"], job["target"]) for job in found]

    def copy(self, name: str, tag: str) -> tuple[str, str]:
        """Return the source and the target that a push of *tag* leads to."""
        sample = SAMPLES[name]
        where = f"{sample.repository}:{tag}"
        return f"{self.host(sample)}/{where}", f"{self.target.host}/copies/{where}"

    def puts(self, name: str, tag: str) -> int:
        """Return how often *tag* was pushed to the target."""
        path = f"/v2/copies/{SAMPLES[name].repository}/manifests/{tag}"
        return sum(1 for request in self.target.read_requests().only(method="PUT") if request.path == path)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """One daemon for all dialects. Hosts outside this machine would go through a proxy that does not exist."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as source, DockerRegistry() as target:
        image, site = multi("dialects"), Site(free_port(), tmp_path_factory.mktemp("dialects"))
        stage = Stage(site, Peer(source.host), target, image)
        for repository in {sample.repository for sample in SAMPLES.values()}:
            tags = [f"{slug(name)}{end}" for name in SAMPLES for end in ("", "-again")]
            stage.source.push(repository, image, *tags)
        hooks = {slug(name): hook(stage, name) for name in SAMPLES}
        hosts = sorted({stage.host(sample) for sample in SAMPLES.values()})
        rules = [(f"{host}/**", f"{target.host}/copies/{{repository}}") for host in hosts]
        with run_site(site, native_file(site, hooks, rules), HTTP_PROXY=DEAD_PROXY, HTTPS_PROXY=DEAD_PROXY):
            yield stage
        assert SECRET not in site.log()
        sys.stdout.write(shown(stage.table))


@every_dialect
def test_a_push_is_recorded_and_copied(stage: Stage, name: str) -> None:
    """202, an event with the sender's data, a job for the right source and target, and the image at the target."""
    tag, sample = slug(name), SAMPLES[name]
    source, target = stage.copy(name, tag)
    reply = stage.send(stage.message(name, tag))
    assert reply.status == 202, reply.text
    assert [event["reference"] for event in reply.said["events"]] == [source]
    (event,) = stage.events(name, tag)
    assert event["repository"] == source.removesuffix(f":{tag}")
    assert event["digest"] == (None if sample.digest is None else str(stage.image.digest))
    wait_for(lambda: stage.jobs(name, tag) == [(source, target)])
    outcome = "out of reach"
    if sample.kind != "ecr":  # Amazon's registries are not on this machine.
        peer, repository = Peer(stage.target.host), f"copies/{sample.repository}"
        wait_for(lambda: peer.manifest(repository, tag) == stage.image.root.content)
        outcome = "copied"
    stage.note(name, "push", reply.status)
    stage.note(name, "event", f"{event['repository'].partition('/')[2]}:{tag}")
    stage.note(name, "job", f"-> copies/{sample.repository}:{tag} {outcome}")


@every_dialect
def test_a_repetition_makes_no_second_copy(stage: Stage, name: str) -> None:
    """A delivery id makes it the same event; without one the second copy finds the tag unchanged."""
    tag, sample = f"{slug(name)}-again", SAMPLES[name]
    message = stage.message(name, tag)
    first = stage.send(message)
    assert first.status == 202
    if sample.kind != "ecr":
        wait_for(lambda: [copy["outcome"] for copy in stage.events(name, tag)[0]["copies"]] == ["copied"])
    second = stage.send(message)
    assert second.status == 202
    events = stage.events(name, tag)
    if sample.delivery is not None:
        assert second.said == first.said
        assert [event["repetitions"] for event in events] == [1]
        wait_for(lambda: stage.jobs(name, tag) == [stage.copy(name, tag)])
        stage.note(name, "again", "same event, 1 job")
    else:
        assert len(events) == 2
        wait_for(lambda: [copy["outcome"] for copy in stage.events(name, tag)[1]["copies"]] == ["unchanged"])
        assert stage.puts(name, tag) == 1
        stage.note(name, "again", "unchanged")


@every_dialect
def test_a_wrong_secret_leaves_nothing(stage: Stage, name: str) -> None:
    """401 for another secret, for none, and for a signature over another body; no event."""
    tag = f"{slug(name)}-refused"
    right, wrong = stage.message(name, tag), stage.message(name, tag, WRONG)
    bare = Message(f"/hooks/{slug(name)}", SAMPLES[name].headers, right.body)
    refused = [wrong, bare]
    if isinstance(PROOFS[name], Signature):
        refused.append(Message(right.path, right.headers, right.body + b" "))
    replies = [stage.send(message) for message in refused]
    assert {reply.status for reply in replies} == {401}
    assert not any(secret in reply.text for secret in (SECRET, WRONG) for reply in replies)
    assert not stage.events(name, tag)
    stage.note(name, "wrong secret", 401)


@every_dialect
def test_an_ignored_kind_leaves_nothing(stage: Stage, name: str) -> None:
    """200 with the reason, since senders repeat or stop after an error; no event."""
    body, headers = IGNORED[SAMPLES[name].kind]
    before = len(stage.site.entries("events", source=slug(name)))
    content = retold(Sample(SAMPLES[name].kind, "none", body), "none", "none", b"")
    reply = stage.send(stage.proven(name, content, headers))
    assert (reply.status, reply.said["status"]) == (200, "ignored")
    assert reply.said["reason"]
    assert len(stage.site.entries("events", source=slug(name))) == before
    stage.note(name, "ignored", reply.status)


@every_dialect
@pytest.mark.parametrize("body", [b"nonsense", b"[" * 1000, b"\xff\xfe{}"])
def test_malformed_bodies_are_refused(stage: Stage, name: str, body: bytes) -> None:
    """400 despite the right proof; no event."""
    before = len(stage.site.entries("events", source=slug(name)))
    reply = stage.send(stage.proven(name, body, SAMPLES[name].headers))
    assert reply.status == 400
    assert reply.said["error"]
    assert len(stage.site.entries("events", source=slug(name))) == before
    stage.note(name, "nonsense", reply.status)


def test_every_kind_and_every_proof_is_tested() -> None:
    """A dialect without a sender here would be untested."""
    assert set(PROOFS) == set(SAMPLES)
    assert {sample.kind for sample in SAMPLES.values()} == set(DIALECTS) == set(IGNORED)
    assert {type(proof) for proof in PROOFS.values()} == {Signature, Header, Login, Address}


def hook(stage: Stage, name: str) -> dict[str, object]:
    """Return the webhook of a sender as in the native file; a plain sender names its registry itself."""
    sample = SAMPLES[name]
    registry = {} if sample.kind == "plain" else {"registry": stage.host(sample)}
    return {"kind": sample.kind, **registry, **as_configured(PROOFS[name], SECRET)}


def slug(name: str) -> str:
    """Return *name* as a valid name of a webhook and a tag."""
    return name.replace(" ", "-").replace("_", "-")


def shown(table: dict[str, dict[str, str]]) -> str:
    """Return the table as text, its columns side by side."""
    head = ("dialect", "proof", *COLUMNS)
    rows = [(name, str(PROOFS[name]), *(cells.get(column, "") for column in COLUMNS)) for name, cells in table.items()]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n" + "\n".join(line.rstrip() for line in lines) + "\n"
