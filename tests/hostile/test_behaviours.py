"""Every known hostile behaviour, tried through the whole command line, and the table that documents them."""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from hostile.addresses import ADDRESSES, CREDENTIALS
from hostile.behaviour import Behaviour
from hostile.content import CONTENT, DOCUMENTS
from hostile.http import HTTP, TARGETS
from hostile.lists import LISTS, WORDS
from hostile.street import ELSEWHERE, LOGIN, SOURCE, TARGET, Street, Tunnel
from image_syncer.testing import Account, Accounts, FakeRegistry, Profile
from support.names import as_text

TABLES = (CONTENT, DOCUMENTS, LISTS, ADDRESSES, CREDENTIALS, HTTP, WORDS, TARGETS)
BEHAVIOURS = [behaviour for table in TABLES for behaviour in table.behaviours]
BEGINNING, END = "<!-- behaviours: begin -->", "<!-- behaviours: end -->"
PAGE = Path(__file__).parents[2] / "docs/explanation/security.md"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A private CA."""
    return trustme.CA()


@pytest.fixture
def street(
    request: pytest.FixtureRequest, tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Street]:
    """Return three registries as the behaviour requires."""
    behaviour: Behaviour = request.getfixturevalue("behaviour")
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    tls = _server_tls(authority) if behaviour.public else None
    accounts = Accounts({LOGIN[0]: Account(LOGIN[1])})
    with ExitStack() as stack:
        guarded = Profile(auth=behaviour.auth, accounts=accounts, tls=tls)
        source, target = (stack.enter_context(FakeRegistry.in_thread(guarded)) for _ in range(2))
        elsewhere = stack.enter_context(FakeRegistry.in_thread(Profile(tls=tls)))
        street = Street(tmp_path, source, target, elsewhere, stack)
        if behaviour.auth != "none":
            street.login = LOGIN
        if behaviour.public:
            registries = {SOURCE: source, TARGET: target, ELSEWHERE: elsewhere}
            ports = {name: int(registry.host.rpartition(":")[2]) for name, registry in registries.items()}
            street.tunnel = stack.enter_context(Tunnel.in_thread(ports))
            authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{street.tunnel.port}")
            monkeypatch.setenv("NO_PROXY", "inward.example")
            _let_resolve(monkeypatch, "inward.example", "127.0.0.1")
        yield street


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: re.sub(r"\W+", "-", behaviour.does)[:70])
def test_a_hostile_behaviour_has_the_documented_result(
    behaviour: Behaviour, street: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outcome, side, step and reason are those of the table; the target has nothing half-written."""
    behaviour.arrange(street)
    outcome = street.run()
    shown = "".join(capsys.readouterr())
    image, gets = outcome.image, behaviour.gets
    assert (image["outcome"], image["side"], image["step"]) == (gets.outcome, gets.side, gets.step), image["reason"]
    assert re.search(gets.reason or "", image["reason"] or ""), image["reason"]
    assert outcome.code == (gets.outcome == "failed")
    if gets.outcome == "failed" and gets.step != "push manifest":
        assert street.target.content("copy").tags == {}
    if behaviour.after is not None:
        behaviour.after(street, outcome)
    for text in (shown, outcome.written):
        assert LOGIN[1] not in text
        assert "Traceback" not in shown
        assert all(line.isprintable() for line in text.splitlines())


def test_the_page_has_every_behaviour() -> None:
    """The documentation has exactly these tables; a failure shows the expected text."""
    told = PAGE.read_text().partition(f"{BEGINNING}\n")[2].partition(END)[0]
    assert told == "\n".join(table.text for table in TABLES)


def _server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity = authority.issue_cert("127.0.0.1", SOURCE, TARGET, ELSEWHERE, "inward.example")
    with identity.private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context


def _let_resolve(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    real = socket.getaddrinfo

    def resolve(asked: Any, *arguments: Any, **named: Any) -> Any:
        host = as_text(asked)
        if host == name and named.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no digits")
        return real(address if host == name else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
