"""Hostile requests to a real daemon: each gets a status and one line, and leaves nothing behind."""

import json
import socket
import time
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from support.ports import free_port
from support.sites import TOKEN, Reply, Site, native_file, run_site
from unit.events.payloads import HARBOR, HARBOR_DATA, SAMPLES

HOST: Final = "harbor.test"
URL_SECRET: Final = "secret-in-the-address-0123456789abcdef"
HEADER_SECRET: Final = "secret-in-a-header-0123456789"
PASSWORD: Final = "password-of-a-sender-0123456789"
PROOF: Final = {"Authorization": f"Bearer {HEADER_SECRET}"}
HOOKS: Final[dict[str, dict[str, object]]] = {
    "harbor": {"kind": "harbor", "registry": HOST, "header": {"value": f"Bearer {HEADER_SECRET}"}},
    "registry": {"kind": "distribution", "registry": HOST, "header": {"value": f"Bearer {HEADER_SECRET}"}},
    "hub": {"kind": "dockerhub", "url_secret": URL_SECRET},
    "github": {"kind": "github", "secret": HEADER_SECRET},
    "plain": {"kind": "plain", "basic": {"username": "ci", "password": PASSWORD}},
}
MEBIBYTE: Final = 1024 * 1024


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """A daemon whose rule wants none of the images here."""
    site = Site(free_port(), tmp_path_factory.mktemp("bad-input"))
    with run_site(site, native_file(site, HOOKS, [("127.0.0.1:1/wanted/**", "127.0.0.1:2/{repository}")])):
        yield site


def harbor(tag: str = "1.4.2", path: str = "team/app") -> bytes:
    """Return Harbor's notification of *tag*."""
    data = HARBOR_DATA | {"resources": [{"tag": tag}], "repository": {"repo_full_name": path}}
    return json.dumps(HARBOR | {"event_data": data}).encode()


def envelope(tag: str) -> bytes:
    """Return Distribution's notification of *tag*."""
    body: Any = json.loads(SAMPLES["distribution"].content)
    body["events"][0]["target"]["tag"] = tag
    return json.dumps(body).encode()


def deep(body: bytes, levels: int) -> bytes:
    """Return the notification *body* with a member that is nested that deep."""
    return b'{"more": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b", " + body[1:]


BODIES: Final[dict[str, tuple[bytes, int]]] = {
    "a body of 2 MiB": (b" " * (2 * MEBIBYTE), 413),
    "a notification one byte too long": (harbor() + b" " * (MEBIBYTE + 1 - len(harbor())), 413),
    "more entries than are read": (harbor().replace(b'[{"tag"', b"[" + b'{"tag": "1"},' * 4096 + b'{"tag"'), 413),
    "33 levels": (deep(harbor(), 33), 400),
    "half a million levels": (b"[" * 500_000, 400),
    "half a million levels behind an open string": (b'"' + b"[" * 500_000, 400),
    "a body that is empty": (b"", 400),
    "no JSON": (b"nonsense", 400),
    "JSON that ends early": (harbor()[:-1], 400),
    "bytes that are no text": (b"\xff\xfe" + harbor(), 400),
    "a number as long as a book": (b'{"type": ' + b"9" * 500_000 + b"}", 400),
    "a list instead of a text": (b'{"type": []}', 400),
    "a surrogate alone": (harbor().replace(b"1.4.2", b"\\ud800"), 400),
    "a tag with an escape sequence": (harbor("a\x1b[31mred"), 400),
    "a tag with a line feed": (harbor("a\nlevel=error"), 400),
    "a tag with a zero": (harbor("a\x00b"), 400),
    "a tag of 129 characters": (harbor("a" * 129), 400),
    "a tag with a bidirectional mark": (harbor("a\u202eb"), 400),
    "a path that climbs": (harbor(path="team/../../etc"), 400),
    "a path with upper case": (harbor(path="Team/App"), 400),
    "a path with another host": (harbor(path="//other.test/app"), 400),
    "a path of 300 characters": (harbor(path="a" * 300), 400),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
def test_malformed_notifications_are_refused(site: Site, body: bytes, status: int) -> None:
    """Despite the right proof: a status, one printable line, no event."""
    reply = site.post("/hooks/harbor", body, PROOF)
    assert (reply.status, one_line(reply)) == (status, True)
    assert not site.entries("events", source="harbor")


def test_a_correct_notification_is_accepted(site: Site) -> None:
    """So the other tests fail for the reason they name; the largest and deepest allowed body is accepted."""
    for body in (envelope("right"), envelope("large").ljust(MEBIBYTE), deep(envelope("deep"), 32)):
        assert site.post("/hooks/registry", body, PROOF).status == 202
    assert [event["tag"] for event in site.entries("events", source="registry")] == ["right", "large", "deep"]
    assert {event["status"] for event in site.entries("events", source="registry")} <= {"received", "unmatched"}


def test_distribution_gets_200_with_the_reason(site: Site) -> None:
    """Distribution would repeat a refused envelope without end; the reason shows the tag escaped."""
    before = len(site.entries("events", source="registry"))
    reply = site.post("/hooks/registry", envelope("a\x1b[31mred"), PROOF)
    assert (reply.status, reply.said["status"]) == (200, "ignored")
    assert reply.said["reason"] == repr("a\x1b[31mred") + " is not a tag"
    assert len(site.entries("events", source="registry")) == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/hooks/unknown", 404),
        ("POST", f"/hooks/unknown/{URL_SECRET}", 404),
        ("POST", "/hooks/", 404),
        ("POST", "/hooks/harbor/a/b", 404),
        ("POST", "/hooks/%2e%2e%2fhealthz", 404),
        ("GET", "/hooks/harbor", 405),
        ("PUT", "/hooks/harbor", 405),
        ("DELETE", "/hooks/harbor", 405),
        ("OPTIONS", "/hooks/harbor", 405),
        ("GET", "/images/sync/hook", 404),
    ],
)
def test_another_path_or_method_is_refused(site: Site, method: str, path: str, status: int) -> None:
    """404 and 405, with any proof; without a fork file its path does not exist."""
    reply = site.call(method, path, harbor(), PROOF)
    assert (reply.status, one_line(reply)) == (status, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 202),  # Senders are careless about it, so it decides nothing.
        ({"Content-Type": "\xff/;;="}, 202),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 202),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Length": "-1"}, 400),
        ({"Content-Length": "1" * 5000}, 400),
        ({"Content-Length": str(2**40)}, 413),
        ({"Origin": "https://stranger.test"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
    ids=lambda value: str(value)[:40],
)
def test_length_and_encoding_are_checked_but_no_content_type(site: Site, headers: dict[str, str], status: int) -> None:
    """A webhook of one kind parses every content type."""
    reply = site.post("/hooks/registry", envelope("typed"), PROOF | headers)
    assert reply.status == status


def test_a_plain_hook_parses_the_announced_type(site: Site) -> None:
    """A form as a form; JSON announced as a form is refused."""
    login = {"Authorization": "Basic Y2k6cGFzc3dvcmQtb2YtYS1zZW5kZXItMDEyMzQ1Njc4OQ=="}
    form, fields = {"Content-Type": "application/x-www-form-urlencoded"}, b"name=r.test%2Fteam%2Fapp&tag=a%0Ab"
    assert site.post("/hooks/plain", b'{"name": "r.test/team/app", "tag": "1"}', login | form).status == 200
    assert site.post("/hooks/plain", b"&".join([b"a=1"] * 65), login | form).status == 400
    assert site.post("/hooks/plain", fields, login | form).status == 400
    assert not site.entries("events", source="plain")


def test_a_chunked_body_is_bounded(site: Site) -> None:
    """413 as soon as the limit is exceeded, not when the sender has finished."""
    head = head_of("POST /hooks/harbor", "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer, sent = talk(site, [head, *[chunk] * 64], pause=0)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert sent < 64 * len(chunk)


def test_broken_chunks_and_broken_http_are_refused(site: Site) -> None:
    """The connection is closed, and the next request works."""
    chunked = head_of("POST /hooks/harbor", "Transfer-Encoding: chunked")
    endless = head_of("POST /hooks/harbor", f"X-Long: {'a' * MEBIBYTE}")
    tls = b"\x16\x03\x01\x02\x00" * 100
    for said in ([chunked + b"zz\r\n"], [tls], [b"POST /hooks/harbor HTTP/9\r\n\r\n"], in_pieces(endless)):
        answer, _ = talk(site, said, pause=0)
        assert answer.startswith(b"HTTP/1.1 400 ")
    assert site.call("GET", "/healthz").status == 200


def test_a_slow_body_is_408_and_delays_no_other_request(site: Site) -> None:
    """After ten seconds, also for a sender that never stops."""
    pieces = [head_of("POST /hooks/harbor", "Content-Length: 1000"), *[b" "] * 60]
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(talk, site, pieces, pause=0.25)
        meanwhile: list[Reply] = []
        while not slow.done():
            meanwhile.append(site.post("/hooks/registry", envelope(f"meanwhile-{len(meanwhile)}"), PROOF))
            time.sleep(0.5)
    assert slow.result()[0].startswith(b"HTTP/1.1 408 ")
    assert 8 < time.monotonic() - began < 14
    assert {reply.status for reply in meanwhile} == {202}
    assert max(reply.seconds for reply in meanwhile) < 1


def test_a_sender_that_disconnects_causes_no_error(site: Site) -> None:
    """In the middle of its body: nothing is recorded, and the log has no traceback."""
    head = head_of("POST /hooks/harbor", "Content-Length: 1000")
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        connection.sendall(head + harbor()[:50])
    assert site.call("GET", "/healthz").status == 200
    assert not site.entries("events", source="harbor")


def test_no_secret_is_in_the_log_or_in_an_answer(site: Site) -> None:
    """Neither the right ones nor wrong ones, in any position; and no request caused an internal error."""
    tried = "a-secret-that-was-tried-0123456789abcdef"
    replies = [
        site.post(f"/hooks/hub/{URL_SECRET}", b"nonsense"),
        site.post(f"/hooks/hub?secret={URL_SECRET}", b"nonsense"),
        site.post(f"/hooks/hub/{tried}", b"nonsense"),
        site.post(f"/hooks/hub?secret={tried}", b"nonsense"),
        site.post(f"/hooks/{tried}", b"nonsense"),
        site.post(f"/{tried}?token={tried}", b"nonsense"),
        site.post("/hooks/harbor", b"nonsense", {"Authorization": f"Bearer {tried}"}),
        site.post("/hooks/github", b"nonsense", {"X-Hub-Signature-256": f"sha256={tried}"}),
        site.post("/hooks/plain", f"name={tried}".encode(), {"Authorization": f"Basic {tried}"}),
        site.call("GET", f"/api/v1/events?token={tried}", headers={"Authorization": f"Bearer {tried}"}),
    ]
    assert {reply.status for reply in replies} == {400, 401, 404}
    log = site.log()
    for secret in (URL_SECRET, HEADER_SECRET, PASSWORD, TOKEN, tried):
        assert secret not in log
        assert not any(secret in reply.text for reply in replies)
    assert '"http.answered"' in log
    assert not any(sign in log for sign in ("Traceback", '"http.failed"', "\x1b"))


def one_line(reply: Reply) -> bool:
    """Whether the answer is JSON with one short, printable line."""
    said = reply.said["error"]
    return said.isprintable() and 0 < len(said) < 300


def head_of(request: str, header: str) -> bytes:
    """Return the head of a request with the right proof and one more header."""
    return f"{request} HTTP/1.1\r\nHost: x\r\n{header}\r\nAuthorization: {PROOF['Authorization']}\r\n\r\n".encode()


def in_pieces(said: bytes) -> list[bytes]:
    """Return *said* in parts of 64 KiB."""
    return [said[start : start + 0x10000] for start in range(0, len(said), 0x10000)]


def talk(site: Site, pieces: Iterable[bytes], *, pause: float) -> tuple[bytes, int]:
    """Send *pieces* with pauses of that many seconds until an answer comes; return it and the number of bytes sent."""
    sent = 0
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        for piece in pieces:
            connection.settimeout(pause or 0.001)
            try:
                if answer := connection.recv(65536):
                    return answer, sent
            except TimeoutError:
                pass
            connection.settimeout(10)
            connection.sendall(piece)
            sent += len(piece)
        return connection.recv(65536), sent
