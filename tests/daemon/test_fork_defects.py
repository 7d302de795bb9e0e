"""Defects of the fork that users reported, each shown to be absent here (F1 to F9, F11 and F12).

F10, what it loses between the broker and its queue, is the whole of tests/queues.
"""

import json
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from daemon.test_fork_daemon import LOGIN, ask, hook, write_files
from image_syncer.testing.images import single
from support.daemons import answers, run_daemon, running, wait_for
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.registry_http import Peer

pytestmark = pytest.mark.real


@pytest.fixture
def registries() -> Generator[tuple[Peer, Peer, Peer]]:
    """A source, another source and a target."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as source, DockerRegistry() as other, DockerRegistry() as target:
        yield Peer(source.host), Peer(other.host), Peer(target.host)


def from_api(port: int, what: str) -> Any:
    """Return the answer of the API."""
    status, body = ask(port, f"/api/v1/{what}")
    assert status == 200, body
    return json.loads(body)


def reasons(port: int, status: str) -> list[str]:
    """Return the last error of each job with this *status*."""
    return [job["error"] for job in from_api(port, f"jobs?status={status}")["items"] if job["error"]]


def outcomes(port: int) -> dict[str, list[str | None]]:
    """Return the outcomes of the copies of each event, by its reference."""
    events = from_api(port, "events?limit=500")["items"]
    return {f"{event['repository']}:{event['tag']}": [copy["outcome"] for copy in event["copies"]] for event in events}


def test_f1_f2_f11_events_during_a_run_are_kept_and_answered(
    registries: tuple[Peer, Peer, Peer], tmp_path: Path
) -> None:
    """F1: a run deletes no new event. F2: many callers crash nothing. F11: no caller waits for the run."""
    source, _, target = registries
    tags = [f"v{number}" for number in range(40)]
    source.push("team/app", single("f1"), *tags)
    port = free_port()
    write_files(tmp_path, port, source, [target.host])
    with run_daemon(tmp_path, port), ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(ask, port, hook(source, "team/app", tag)) for tag in tags]
        for _ in tags[::4]:
            assert ask(port, "/images/sync/do")[0] == 200
        assert {call.result()[0] for call in calls} == {200}
        ask(port, "/images/sync/do")
        wait_for(lambda: set(target.tags("team/app")) == set(tags))


def test_f3_one_bad_tag_does_not_affect_the_others(registries: tuple[Peer, Peer, Peer], tmp_path: Path) -> None:
    """Its copies fail with their reason; the copy to a registry that is down waits, with its own."""
    source, other, target = registries
    source.push("team/app", single("f3"), "v1")
    port = free_port()
    write_files(tmp_path, port, source, ["127.0.0.1:1", other.host, target.host])
    with run_daemon(tmp_path, port):
        for tag in ("gone", "v1"):
            assert ask(port, hook(source, "team/app", tag))[0] == 200
        ask(port, "/images/sync/do")
        wait_for(lambda: other.tags("team/app") == target.tags("team/app") == ["v1"])
        wait_for(lambda: len(reasons(port, "failed")) == 3)
        wait_for(lambda: ["the connection is refused" in reason for reason in reasons(port, "waiting")] == [True])
        assert all(": not found" in reason for reason in reasons(port, "failed"))
        assert json.loads(ask(port, "/images/sync/do")[1])["count"] == 0


def test_f4_f5_a_destination_may_hold_a_path_and_be_a_part_of_the_source(
    registries: tuple[Peer, Peer, Peer], tmp_path: Path
) -> None:
    """F4: the fork skipped and forgot such an image. F5: a path failed the whole batch."""
    source, _, target = registries
    image = single("f4")
    source.push("team/app", image, "v1")
    port = free_port()
    write_files(tmp_path, port, source, [f"{source.host}/team", f"{target.host}/a/b"])
    with run_daemon(tmp_path, port):
        assert ask(port, hook(source, "team/app", "v1"))[0] == 200
        ask(port, "/images/sync/do")
        wait_for(lambda: source.tags("team/team/app") == target.tags("a/b/team/app") == ["v1"])
    assert source.manifest("team/team/app", "v1") == target.manifest("a/b/team/app", "v1") == image.root.content


def test_f6_the_same_path_of_two_sources_is_two_copies(registries: tuple[Peer, Peer, Peer], tmp_path: Path) -> None:
    """They run one after the other, and neither is forgotten."""
    source, other, target = registries
    images = {peer.host: single(peer.host) for peer in (source, other)}
    for peer in (source, other):
        peer.push("team/app", images[peer.host], "v1")
    port = free_port()
    write_files(tmp_path, port, source, [target.host])
    file = tmp_path / "configs/sync.yaml"
    route = f"    - {{sourceName: '{other.host}', namespace: team, destinationName: '{target.host}'}}\nauth:"
    file.write_text(file.read_text().replace("auth:", route, 1))
    with run_daemon(tmp_path, port):
        for peer in (source, other):
            assert ask(port, hook(peer, "team/app", "v1"))[0] == 200
        ask(port, "/images/sync/do")
        done = {f"{peer.host}/team/app:v1": ["copied"] for peer in (source, other)}
        wait_for(lambda: outcomes(port) == done)
    assert target.manifest("team/app", "v1") in {image.root.content for image in images.values()}


def test_f7_a_queue_of_an_older_configuration_is_no_crash(registries: tuple[Peer, Peer, Peer], tmp_path: Path) -> None:
    """Images of current routes are copied, the others recorded as unmatched; the log names an invalid entry."""
    source, _, target = registries
    source.push("team/app", single("f7"), "v1")
    port = free_port()
    write_files(tmp_path, port, source, [target.host])
    waiting = {
        f"{source.host}/team/app:v1&gone.example.com": 17,
        "gone.example.com/a/b:v2&x": 3,
        "a.example.com/UPPER/b:v&x": 0,
    }
    (tmp_path / "images.json").write_text(json.dumps(waiting))
    with run_daemon(tmp_path, port):
        ask(port, "/images/sync/do")
        wait_for(lambda: target.tags("team/app") == ["v1"])
        found = {event["repository"]: event["status"] for event in from_api(port, "events")["items"]}
    assert found == {f"{source.host}/team/app": "dispatched", "gone.example.com/a/b": "unmatched"}
    log = (tmp_path / "app.log").read_text()
    assert "fork_queue.imported" in log
    assert "a.example.com/UPPER/b:v&x" in log


def test_f8_without_its_broker_it_serves_and_keeps_the_queue(tmp_path: Path) -> None:
    """F8: the fork emptied the queue and ended. The daemon retries the broker and accepts webhooks meanwhile."""
    port = free_port()
    waiting = with_queue(tmp_path, port)
    with run_daemon(tmp_path, port):
        assert [event["tag"] for event in from_api(port, "events")["items"]] == ["v1"]
        wait_for(lambda: "queue.unreachable" in (tmp_path / "app.log").read_text())
    assert kept(tmp_path) == [waiting]


def test_f8_a_taken_port_ends_it_with_an_error_and_loses_nothing(tmp_path: Path) -> None:
    """F8: the fork ended silently with 0. The next start has the waiting images."""
    port = free_port()
    waiting = with_queue(tmp_path, port)
    with socket.create_server(("", port)), running(tmp_path) as process:
        assert process.wait(30) == 2
        assert "cannot listen" in said(process)
    with run_daemon(tmp_path, port):
        assert [event["tag"] for event in from_api(port, "events")["items"]] == ["v1"]
    assert kept(tmp_path) == [waiting]


def test_f8_a_broken_queue_is_refused_and_left_alone(tmp_path: Path) -> None:
    """F8: the fork overwrote it. The error names the file."""
    with_queue(tmp_path, free_port())
    (tmp_path / "images.json").write_text('{\n"a/b/c:v1&d": 0,\n')
    with running(tmp_path) as process:
        assert process.wait(30) == 2
        assert "images.json:3:" in said(process)
    assert (tmp_path / "images.json").read_text() == '{\n"a/b/c:v1&d": 0,\n'


def test_f9_a_stop_and_a_hangup_lose_nothing(registries: tuple[Peer, Peer, Peer], tmp_path: Path) -> None:
    """F9: in the fork SIGTERM lost three minutes and SIGHUP ended it. Here the first drains and the second reloads."""
    source, _, target = registries
    source.push("team/app", single("f9"), "v1", "v2")
    port = free_port()
    write_files(tmp_path, port, source, [target.host])
    with run_daemon(tmp_path, port) as process:
        assert ask(port, hook(source, "team/app", "v1"))[0] == 200
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "configuration.reloaded" in (tmp_path / "app.log").read_text())
        assert ask(port, hook(source, "team/app", "v2"))[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with run_daemon(tmp_path, port):
        ask(port, "/images/sync/do")
        wait_for(lambda: sorted(target.tags("team/app")) == ["v1", "v2"])


def test_f12_every_answer_has_a_body_and_other_sites_are_refused(tmp_path: Path) -> None:
    """Health and metrics exist; the GET of another site's page has no effect."""
    port, source = free_port(), Peer("127.0.0.1:1")
    write_files(tmp_path, port, source, ["127.0.0.1:2"])
    with run_daemon(tmp_path, port):
        assert json.loads(ask(port, "/images/sync/hook?tag=v1")[1])["status"] == "ignored"
        assert json.loads(ask(port, hook(source, "elsewhere/app", "v1"))[1])["status"] == "unmatched"
        url = f"http://127.0.0.1:{port}{hook(source, 'team/app', 'v1')}"
        foreign = urllib.request.Request(url, headers={"Authorization": LOGIN, "Sec-Fetch-Site": "cross-site"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(foreign, timeout=10)
        refused.value.close()
        assert refused.value.code == 403
        assert [event["status"] for event in from_api(port, "events")["items"]] in (["received"], ["unmatched"])
        assert answers(port)
        assert b"image_syncer_notifications_total" in ask(port, "/metrics")[1]


def with_queue(folder: Path, port: int) -> str:
    """Write the fork's files with a broker that is down and a queue; return the text of the queue."""
    write_files(folder, port, Peer("127.0.0.1:1"), ["127.0.0.1:2"])
    file = folder / "configs/sync.yaml"
    file.write_text(file.read_text() + "rabbitmq: {queueName: q, info: [{address: '127.0.0.1:1'}]}\n")
    waiting = json.dumps({"127.0.0.1:1/team/app:v1&127.0.0.1:2": 0})
    (folder / "images.json").write_text(waiting)
    return waiting


def kept(folder: Path) -> list[str]:
    """Return the content of the fork's queue and of its copies."""
    return [file.read_text() for file in folder.glob("images.json*")]


def said(process: subprocess.Popen[bytes]) -> str:
    """Return the output of a process that has ended."""
    assert process.stdout is not None
    return process.stdout.read().decode()
