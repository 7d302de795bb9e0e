"""Secrets are planted in every configuration and answer that can hold one, and searched in all output."""

import base64
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from image_syncer.testing import Account, Accounts, FakeRegistry, Profile
from image_syncer.testing.images import single
from support.command_line import CommandLine, Done, wait_until
from support.ports import free_port
from support.sites import Site, native_file, run_site

AUTH_FILE = "secret-of-the-auth-file-1"
VARIABLE = "secret-of-a-variable-2"
DOCKER = "secret-of-dockers-config-3"
TOKEN = "secret-token-of-the-token-server-4" * 3
SIGNED = "secret-signature-of-storage-5"
SESSION = "secret-state-of-an-upload-6"
STATE_URL = "secret-of-the-state-url-7"
PROXY = "secret-of-the-proxy-8"
HOOK_KEY = "secret-key-of-a-hook-9"
HOOK_HEADER = "secret-header-of-a-hook-10"
HOOK_URL = "secret-in-the-address-of-a-hook-11-0123456789"
HOOK_BASIC = "secret-login-of-a-hook-12"
API_LOGIN = "secret-login-of-the-api-13"
QUEUE = "secret-of-the-queue-14"
API_TOKEN = "the-token-of-the-api-0123456789abcdef"  # The token of `support.sites`.
SECRETS = (
    *(AUTH_FILE, VARIABLE, DOCKER, TOKEN, SIGNED, SESSION, STATE_URL, PROXY, HOOK_KEY, HOOK_HEADER, HOOK_URL),
    *(HOOK_BASIC, API_LOGIN, QUEUE, API_TOKEN),
)
GIVEN = frozenset({"auth.yaml", "config.json", "native.yaml"})
"""The files into which the test writes secrets."""


def forms(secret: str) -> Iterator[bytes]:
    """Yield the forms of *secret* in output: plain, in a URL, and in base64 at each of the three positions."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    for position in range(3):
        encoded = base64.b64encode(b"x" * position + secret.encode())
        yield encoded[4 * (position > 0) : -4]


NEEDLES = {form: secret for secret in SECRETS for form in forms(secret)}


@dataclass
class Search:
    """All output, by its place."""

    places: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def add(self, place: str, content: str | bytes) -> None:
        """Add *content* to the search."""
        self.places[f"{len(self.places)} {place}"] = content.encode() if isinstance(content, str) else content

    def add_run(self, done: Done) -> None:
        """Add the output and the arguments of a process."""
        self.add("stdout", done.stdout)
        self.add("stderr", done.stderr)
        self.add("arguments", " ".join(done.args))

    def add_folder(self, folder: Path) -> None:
        """Add every file; databases also value by value, since a page may cut a text in two."""
        for file in folder.rglob("*"):
            if file.is_file() and file.name not in GIVEN:
                self.add(str(file), file.read_bytes())
                if file.read_bytes()[:6] == b"SQLite":
                    self.add(f"{file} by value", dump(file))

    def found(self) -> list[str]:
        """Return each secret that was found, with its place."""
        return [
            f"{secret} in {place}"
            for place, content in self.places.items()
            for needle, secret in NEEDLES.items()
            if needle in content
        ]


def ran(cli: CommandLine, *arguments: str) -> Done:
    """Run to the end; a traceback is allowed."""
    process = cli.start(*arguments)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def dump(file: Path) -> str:
    """Return the content of a database as text."""
    connection = sqlite3.connect(file)
    try:
        return "\n".join(connection.iterdump())
    finally:
        connection.close()


def test_the_search_finds_planted_secrets(tmp_path: Path) -> None:
    """It finds every form, in databases, too."""
    search = Search()
    search.add("log", f"password={VARIABLE}")
    search.add("header", f"Basic {base64.b64encode(f'user:{DOCKER}'.encode()).decode()}")
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("create table t (value text)")
    connection.execute("insert into t values (?)", (f"https://x/?s={TOKEN}",))
    connection.commit()
    connection.close()
    search.add_folder(tmp_path)
    assert {hit.partition(" ")[0] for hit in search.found()} == {VARIABLE, DOCKER, TOKEN}


@pytest.fixture
def storage() -> Iterator[FakeRegistry]:
    """Return the storage to which the source redirects by signed URLs."""
    with FakeRegistry.in_thread() as registry:
        yield registry


@pytest.fixture
def source(storage: FakeRegistry) -> Iterator[FakeRegistry]:
    """Return a registry with tokens whose blobs are at *storage*."""
    with FakeRegistry.in_thread() as registry:

        async def guard(request: web.Request) -> web.Response | None:
            if request.path == "/token":
                return web.json_response({"token": TOKEN, "refresh_token": TOKEN})
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                challenge = f'Bearer realm="{registry.url}/token",service="s"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})
            if "/blobs/" in request.path:
                location = f"{storage.url}{request.path}?X-Amz-Signature={SIGNED}"
                return web.Response(status=307, headers={"Location": location})
            return None

        registry.intercept.append(guard)
        for name in ("app", "broken", "gone"):
            registry.load(name, single(name, layers=(5000, 2 * 1024 * 1024)), "v1")
            storage.load(name, single(name, layers=(5000, 2 * 1024 * 1024)), "v1")
        yield registry


@pytest.fixture
def target() -> Iterator[FakeRegistry]:
    """Return a registry that repeats logins in its errors and opens uploads at URLs with a secret."""
    accounts = Accounts({"robot": Account(DOCKER)})
    with FakeRegistry.in_thread(Profile(auth="basic", accounts=accounts)) as registry:

        async def echo(request: web.Request) -> web.Response | None:
            header = request.headers.get("Authorization", "")
            if request.method == "POST" and "/broken/" in request.path and header:
                location = f"{registry.url}{request.path}x?_state={SESSION}"
                return web.Response(status=202, headers={"Location": location})
            if "_state=" + SESSION in str(request.url):
                message = f"denied: Authorization: {header} at {request.url}"
                return web.json_response({"errors": [{"code": "DENIED", "message": message}]}, status=403)
            return None

        registry.intercept.append(echo)
        yield registry


@pytest.fixture
def files(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Write rules for three images, with logins from a file, a variable and docker's own configuration."""
    cli.environment |= {"REGISTRY_PASSWORD": VARIABLE}
    cli.write(
        "auth.yaml",
        f"""
        {source.host}: {{username: reader, password: {AUTH_FILE}}}
        {source.host}/gone: {{username: reader, password: '${{REGISTRY_PASSWORD}}'}}
    """,
    )
    login = base64.b64encode(f"robot:{DOCKER}".encode()).decode()
    cli.write(".docker/config.json", json.dumps({"auths": {target.host: {"auth": login}}}))
    rules = {f"{source.host}/{name}:{tag}": f"{target.host}/{name}" for name, tag in RULES}
    cli.write("images.json", json.dumps(rules))


RULES = (("app", "v1"), ("broken", "v1"), ("gone", "v9"))
ARGUMENTS = ("sync", "--auth", "auth.yaml", "--images", "images.json", "--retries", "0")
VERBOSE = ("--debug", "--report", "report.json", "--output-success-images", "copied.yaml")


@pytest.mark.usefixtures("files")
def test_no_run_writes_a_secret(cli: CommandLine, target: FakeRegistry) -> None:
    """Successes and failures hide secrets, even if a registry repeats them and with --debug."""
    search = Search()
    for more in (
        ("--dry-run", "--debug"),
        ("--state", "state.db", "--log", "text.log", *VERBOSE),
        (
            "--state",
            "state.db",
            "--log",
            "json.log",
            "--log-format",
            "json",
            "--output",
            "json",
            "--force",
            *VERBOSE,
        ),
    ):
        done = ran(cli, *ARGUMENTS, *more)
        assert done.returncode == 1, done.stderr  # One tag does not exist.
        search.add_run(done)
    assert target.manifest("app", "v1")
    for words in (("inspect", f"{target.host}/app:v1", "--debug"), ("tags", f"{target.host}/app", "--output", "json")):
        search.add_run(ran(cli, *words))
    search.add_folder(cli.directory)
    assert (cli.directory / "state.db").exists()
    assert search.found() == []


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("state", "proxy"),
    [(f"postgresql://user:{STATE_URL}@127.0.0.1:1/x", ""), (f"mysql://user:{STATE_URL}@h/x", ""), ("none", PROXY)],
)
def test_errors_about_a_state_or_a_proxy_hide_their_logins(cli: CommandLine, state: str, proxy: str) -> None:
    """The state is unreachable or unsupported, or the proxy is unreachable."""
    if proxy:
        cli.environment["HTTPS_PROXY"] = f"http://user:{proxy}@127.0.0.1:1"
        cli.write("images.json", json.dumps({"registry.example/app:v1": "registry.example/copy"}))
    cli.write("state-url", "")
    search = Search()
    done = ran(cli, *ARGUMENTS, *VERBOSE, "--log", "log", "--state", state)
    search.add("stdout", done.stdout)
    search.add("stderr", done.stderr)
    search.add_folder(cli.directory)
    assert done.returncode in {1, 2}
    assert search.found() == []


def test_errors_of_a_configuration_hide_its_secrets(cli: CommandLine) -> None:
    """An error about a wrong key, type or place names the place, not the value."""
    search = Search()
    for text in (
        f"a.io: {{username: u, passwort: {AUTH_FILE}}}\n",
        f"a.io: {{username: u, password: [{AUTH_FILE}]}}\n",
        f"a.io: {{password: {AUTH_FILE}}}\n",
        f"a.io:\n  username: u\n  password: '{AUTH_FILE}\n",
        f"a.io: {{username: u, password: !vault {AUTH_FILE}}}\n",
        f"a.io: {{username: u, password: *{AUTH_FILE}}}\n",
        f"user:{AUTH_FILE}@a.io: {{}}\n",
    ):
        cli.write("auth.yaml", text)
        cli.write("images.json", '{"a.io/x:v1": "b.io/x"}')
        done = ran(cli, *ARGUMENTS, "--debug")
        assert done.returncode == 2, text
        if "@a.io" not in text:  # A key is no secret, and the error names it.
            search.add_run(done)
    assert search.found() == []


def test_the_daemon_writes_no_secret(
    tmp_path: Path, source: FakeRegistry, storage: FakeRegistry, target: FakeRegistry
) -> None:
    """Log, state, jobs, pages, API, metrics and process list have none, after valid and invalid calls."""
    site = Site(free_port(), tmp_path)
    hooks = {
        "signed": {"kind": "harbor", "registry": source.host, "header": {"value": HOOK_HEADER}},
        "hub": {"kind": "dockerhub", "url_secret": HOOK_URL},
        "basic": {"kind": "distribution", "registry": source.host, "basic": {"username": "u", "password": HOOK_BASIC}},
        "github": {"kind": "github", "secret": HOOK_KEY},
    }
    registries = {
        source.host: {"username": "reader", "password": "${REGISTRY_PASSWORD}"},
        target.host: {"username": "robot", "password": DOCKER},
    }
    server = {
        "listen": f"127.0.0.1:{site.port}",
        "auth": {"tokens": [API_TOKEN], "basic": {"username": "admin", "password": API_LOGIN}},
    }
    queues = {"events": {"kind": "redis", "urls": f"redis://user:{QUEUE}@127.0.0.1:1/0", "queue": "a/b"}}
    text = native_file(
        site,
        hooks,
        [(f"{source.host}/{name}", f"{target.host}/{name}") for name in ("app", "broken")],
        registries=registries,
        server=server,
        queues=queues,
    )
    search = Search()
    with run_site(site, text, REGISTRY_PASSWORD=VARIABLE):
        for name in ("app", "broken"):
            for password in ("wrong", HOOK_BASIC):
                pair = base64.b64encode(f"u:{password}".encode()).decode()
                body = json.dumps({"events": [event(source.host, name)]}).encode()
                reply = site.post("/hooks/basic", body, {"Authorization": f"Basic {pair}"})
                assert reply.status == (202 if password == HOOK_BASIC else 401)
                search.add("hook", reply.text)
        for path in (f"/hooks/hub/{HOOK_URL}", f"/hooks/hub?secret={HOOK_URL}", f"/hooks/none/{HOOK_URL}"):
            search.add(path.partition("/")[0], site.post(path, b'{"broken":').text)
        search.add("header", site.post("/hooks/signed", b"{}", {"Authorization": HOOK_HEADER}).text)
        wait_until(lambda: {one["outcome"] for one in site.entries("images")} >= {"copied", "failed"})
        known = {"Authorization": f"Bearer {API_TOKEN}"}
        for path in ("/", "/docs", "/openapi.json", "/metrics", "/healthz", "/readyz", *API):
            reply = site.call("GET", path, headers=known)
            assert reply.status == 200, path
            search.add(path, reply.text)
        search.add("refused", site.call("GET", f"/api/v1/rules?x={API_LOGIN}").text)
        search.add("processes", subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout)
    search.add_folder(tmp_path)
    assert "http.answered" in site.log()
    assert search.found() == []


API = tuple(f"/api/v1/{name}?limit=100" for name in ("rules", "registries", "runs", "images", "jobs", "events"))


def event(host: str, name: str) -> dict[str, object]:
    """Return a notification of a push."""
    digest = str(single(name, layers=(5000, 2 * 1024 * 1024)).digest)
    media_type = "application/vnd.oci.image.manifest.v1+json"
    target = {"mediaType": media_type, "digest": digest, "repository": name, "tag": "v1", "url": f"http://{host}/x"}
    return {"id": f"id-{name}", "action": "push", "target": target, "request": {"host": host}}
