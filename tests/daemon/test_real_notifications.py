"""Debian's docker-registry notifies the daemon; skopeo pushes and verifies."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from image_syncer.oci.referrer import legacy_tags
from image_syncer.testing import FakeRegistry, Image
from image_syncer.testing.images import cosign_signature, multi, single
from support.daemons import wait_for
from support.docker_registry import DockerProfile, DockerRegistry, Notifications
from support.ports import free_port
from support.registry_http import Peer
from support.sites import Site, native_file, run_site
from support.skopeo import Skopeo

pytestmark = pytest.mark.real

_MOST_MILLISECONDS = 200.0


@dataclass(frozen=True)
class Stage:
    """Two registries that notify a daemon, and a client that pushes with skopeo."""

    site: Site
    one: DockerRegistry
    other: DockerRegistry
    fake: FakeRegistry
    skopeo: Skopeo

    def daemon(self, *rules: tuple[str, str]) -> AbstractContextManager[Site]:
        """Run the daemon with *rules* as pairs of source and target."""
        hooks = {name: _hook(name, registry.host) for name, registry in (("one", self.one), ("other", self.other))}
        return run_site(self.site, native_file(self.site, hooks, rules))

    def push(self, image: Image, to: DockerRegistry, name: str) -> str:
        """Push *image* to *name* (`repository:tag`) of a registry, and return its reference."""
        path, _, tag = name.partition(":")
        self.fake.load(path, image, tag)
        self.skopeo.copy(f"{self.fake.host}/{name}", f"{to.host}/{name}")
        return f"{to.host}/{name}"

    def hear_all(self, *registries: DockerRegistry) -> None:
        """Return once all notifications of *registries* have arrived.

        A registry delivers in order, so that of a last push arrives last.
        """
        for registry in registries:
            repository = f"{registry.host}/sentinel/last"
            heard = len(self.site.entries("events", repository=repository))
            self.push(single("sentinel"), registry, f"sentinel/last:v{heard}")
            wait_for(lambda known=heard, name=repository: len(self.site.entries("events", repository=name)) > known)

    def events(self) -> list[dict[str, Any]]:
        """The events, without those of `hear_all`."""
        return [event for event in self.site.entries("events") if "/sentinel/" not in event["repository"]]

    def outcomes(self) -> list[str]:
        """The outcome of each copy of an event, sorted; `None` for a running one."""
        return sorted(str(copy["outcome"]) for event in self.events() for copy in event["copies"])

    def wait_for_outcomes(self, *wanted: str) -> None:
        """Wait until exactly these copies have ended."""
        wait_for(lambda: self.outcomes() == sorted(wanted))


@pytest.fixture
def stage(tmp_path: Path, skopeo: Skopeo) -> Generator[Stage]:
    """Registries that know from the start where the daemon will listen."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    site = Site(free_port(), tmp_path)
    with (
        DockerRegistry(_profile(site, "one")) as one,
        DockerRegistry(_profile(site, "other")) as other,
        FakeRegistry.in_thread() as fake,
    ):
        yield Stage(site, one, other, fake, skopeo)


def test_pushed_images_arrive_byte_for_byte(stage: Stage) -> None:
    """A single image and a multi-platform one, of which only the tag is an event; each answer within 200 ms."""
    with stage.daemon((f"{stage.one.host}/team/**", f"{stage.other.host}/copies/{{repository}}")) as site:
        for image, name in ((single("alone"), "team/app:v1"), (multi("many"), "team/deep/app:v2")):
            source = stage.push(image, stage.one, name)
            wait_for(lambda: "None" not in stage.outcomes() and bool(stage.outcomes()))
            target = f"{stage.other.host}/copies/{name}"
            wait_for(lambda place=target: is_there(stage.other, place))
            assert stage.skopeo.raw(target) == stage.skopeo.raw(source) == image.root.content
        stage.hear_all(stage.one)
        assert [event["tag"] for event in stage.events() if event["source"] == "one"] == ["v1", "v2"]
        assert slowest(site.hooks_answered()) < _MOST_MILLISECONDS


def test_a_signature_that_is_pushed_later_arrives(stage: Stage) -> None:
    """By the notification of its tag; the image is looked at again, and its tag is no image of its own."""
    with stage.daemon((f"{stage.one.host}/team/**", f"{stage.other.host}/copies/{{repository}}")):
        image = single("signed later")
        stage.push(image, stage.one, "team/app:v1")
        stage.wait_for_outcomes("copied")
        signature, tag = cosign_signature(image), legacy_tags(image.digest)[0]
        stage.push(signature, stage.one, f"team/app:{tag}")
        stage.wait_for_outcomes("copied", "copied")
        assert stage.skopeo.raw(f"{stage.other.host}/copies/team/app:{tag}") == signature.root.content
        stage.hear_all(stage.one)
        sources = {copy["source"] for event in stage.events() for copy in event["copies"]}
        assert sources == {f"{stage.one.host}/team/app:v1"}


def test_pulls_and_deletions_are_ignored(stage: Stage) -> None:
    """200 with the reason in the log; no event, no job."""
    with stage.daemon((f"{stage.one.host}/team/**", f"{stage.other.host}/{{repository}}")) as site:
        image = single("pulled")
        source = stage.push(image, stage.one, "team/app:v1")
        stage.wait_for_outcomes("copied")
        before = len(site.hooks_answered())
        stage.skopeo.raw(source)
        Peer(stage.one.host).delete_manifest("team/app", image.digest)
        stage.hear_all(stage.one)
        # A thread writes the log, a moment after the answer.
        wait_for(lambda: {line["status"] for line in site.hooks_answered()[before:]} == {200, 202})
        answered = site.hooks_answered()[before:]
        reasons = {line.get("reason") for line in answered if line["status"] == 200 and line["outcome"] == "ignored"}
        assert {"action 'pull' is not a push", "action 'delete' is not a push"} <= reasons
        assert {line["status"] for line in answered} == {200, 202}
        assert len(stage.events()) == 2  # The push, and the copy at the other one.
        assert len(site.entries("jobs")) == 1


def test_pushes_while_the_daemon_is_down_are_not_lost(stage: Stage) -> None:
    """The registry delivers its notifications when the daemon is back."""
    rule = (f"{stage.one.host}/team/**", f"{stage.other.host}/{{repository}}")
    with stage.daemon(rule):
        stage.push(single("before"), stage.one, "team/app:before")
        stage.wait_for_outcomes("copied")
    images = {f"down-{number}": single(f"down-{number}") for number in range(3)}
    for tag, image in images.items():
        stage.push(image, stage.one, f"team/app:{tag}")
    assert Peer(stage.other.host).tags("team/app") == ["before"]
    with stage.daemon(rule):
        wait_for(lambda: len(Peer(stage.other.host).tags("team/app")) == 4)
        for tag, image in images.items():
            assert stage.skopeo.raw(f"{stage.other.host}/team/app:{tag}") == image.root.content
        stage.wait_for_outcomes(*["copied"] * 4)


def test_a_loop_ends_by_digest(stage: Stage) -> None:
    """Two rules in both directions, both registries notify: each image is pushed once to the other.

    The daemon's own push causes a notification, too; the copy back finds the same digest and pushes nothing.
    """
    there, back = f"{stage.one.host}/loop/**", f"{stage.other.host}/loop/**"
    with stage.daemon(
        (there, f"{stage.other.host}/{{repository}}"), (back, f"{stage.one.host}/{{repository}}")
    ) as site:
        stage.push(single("from one"), stage.one, "loop/app:v1")
        stage.wait_for_outcomes("copied", "unchanged")
        stage.push(single("from other"), stage.other, "loop/app:v2")
        stage.wait_for_outcomes("copied", "copied", "unchanged", "unchanged")
        # Again, over a tag that both have: the newer one wins at both.
        last = single("from one again")
        stage.push(last, stage.one, "loop/app:v2")
        stage.wait_for_outcomes(*["copied"] * 3, *["unchanged"] * 3)
        stage.hear_all(stage.one, stage.other)
        assert len(site.entries("jobs")) == len(stage.events()) == 6
        assert {job["status"] for job in site.entries("jobs")} == {"succeeded"}
    # Three images are at both, and each manifest was put once at each: by skopeo at one, by the daemon at the other.
    for registry in (stage.one, stage.other):
        assert registry.read_requests().count(method="PUT", kind="manifest", repository="loop/app") == 3
        assert stage.skopeo.raw(f"{registry.host}/loop/app:v2") == last.root.content


def is_there(registry: DockerRegistry, reference: str) -> bool:
    """Whether the registry has *reference* (`host/repository:tag`)."""
    repository, _, tag = reference.removeprefix(f"{registry.host}/").partition(":")
    return tag in Peer(registry.host).tags(repository)


def slowest(answered: Sequence[dict[str, Any]]) -> float:
    """Return the milliseconds of the slowest answer; there is at least one."""
    return max(line["ms"] for line in answered)


def _profile(site: Site, name: str) -> DockerProfile:
    url = f"http://127.0.0.1:{site.port}/hooks/{name}"
    return DockerProfile(notifications=Notifications(url, {"Authorization": f"Bearer secret-of-{name}"}))


def _hook(name: str, host: str) -> dict[str, object]:
    return {"kind": "distribution", "registry": host, "header": {"value": f"Bearer secret-of-{name}"}}
