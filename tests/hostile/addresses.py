"""Hostile addresses and challenges: where registries try to send the client, and whose credentials they try to get."""

from aiohttp import web

from hostile.behaviour import Gets, Table
from hostile.street import ELSEWHERE, Outcome, Street
from image_syncer.testing import faults
from image_syncer.testing.images import single

ADDRESSES = Table("Addresses")
CREDENTIALS = Table("Credentials")

INSIDE = "it leads to an address inside of our own network"


def unasked(street: Street, _: Outcome) -> None:
    """Only source and target got requests."""
    assert street.tunnel is not None
    assert {name.rpartition(":")[0] for name in street.tunnel.asked} <= {"source.example", "target.example"}
    assert not len(street.elsewhere.requests)


def bare(street: Street, _: Outcome) -> None:
    """The other server got a request without credentials."""
    assert len(street.elsewhere.requests)
    assert all(request.authorization == "" for request in street.elsewhere.requests)
    assert all("account" not in dict(request.query) for request in street.elsewhere.requests)


def _redirected(does: str, to: str, reason: str = INSIDE) -> None:
    @ADDRESSES.add(f"a blob is said to be at {does}", Gets(step="read blob", reason=reason), public=True, after=unasked)
    def redirect(street: Street) -> None:
        street.load(single("a", layers=(5000,)))
        street.source.faults.add(faults.redirect(to.format(tag="x")), kind="blob")


_redirected("the metadata of a cloud (`169.254.169.254`)", "https://169.254.169.254/latest/meta-data/")
_redirected("the same over IPv6 (`[fd00:ec2::254]`)", "https://[fd00:ec2::254]/latest/")
_redirected("this machine (`127.0.0.1`)", "https://127.0.0.1:2376/containers/json")
_redirected("this machine as one number (`2130706433`)", "https://2130706433/")
_redirected("this machine in octal (`0177.1`)", "https://0177.1/")
_redirected("this machine within IPv6 (`[::ffff:7f00:1]`)", "https://[::ffff:7f00:1]/")
_redirected("`localhost.`", "https://localhost./")
_redirected("no address at all (`0.0.0.0`)", "https://0.0.0.0/")
_redirected(
    "a private address in digits (`10.0.0.1`)",
    "https://10.0.0.1/",
    "an address in a private network, where this registry may not lead us",
)
_redirected("a plain `http` address", f"http://{ELSEWHERE}/blob", "it leads from https to plain http")
_redirected("an address with a login", f"https://user:password@{ELSEWHERE}/blob", "an address with credentials in it")
_redirected("a file (`file:///etc/passwd`)", "file:///etc/passwd", "not an http or https address")


@ADDRESSES.add(
    "a name that leads to this machine (DNS rebinding)",
    Gets(step="read blob", reason=r"inward\.example \(127\.0\.0\.1\): an address of this machine"),
    public=True,
    after=unasked,
)
def rebinding(street: Street) -> None:
    """The name is resolved, judged, and never connected to."""
    street.load(single("a", layers=(5000,)))
    port = street.elsewhere.host.rpartition(":")[2]
    street.source.faults.add(faults.redirect(f"https://inward.example:{port}/blob"), kind="blob")


@ADDRESSES.add("redirects without end", Gets(step="resolve", reason="more than 5 redirects"))
def endless_redirects(street: Street) -> None:
    """The registry redirects to itself."""
    street.load(single("a"))
    street.source.faults.add(faults.redirect(street.source.url), kind="manifest")


@ADDRESSES.add(
    "an upload is to go to the metadata of a cloud",
    Gets(side="target", step="push blob", reason=INSIDE),
    public=True,
    after=unasked,
)
def upload_inside(street: Street) -> None:
    """The target would see nothing of the response, but it would get the request."""
    street.load(single("a", layers=(5000,)))
    location = {"Location": "https://169.254.169.254/latest/"}
    street.target.faults.add(faults.answer(202, headers=location), method="POST", kind="upload")


def _realm(does: str, realm: str, reason: str) -> None:
    @ADDRESSES.add(f"tokens are to be had at {does}", Gets(step="resolve", reason=reason), public=True, after=unasked)
    def challenge(street: Street) -> None:
        street.login = ("robot", "a-password-for-this-host-only")
        street.load(single("a"))
        header = {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}
        street.source.faults.add(faults.answer(401, headers=header))


_realm("the metadata of a cloud", "https://169.254.169.254/token", INSIDE)
_realm("this machine", "https://127.0.0.1:8443/token", INSIDE)
_realm("a plain `http` address", f"http://{ELSEWHERE}/token", "is not asked over plain http")
_realm("`http` with the registry's own name", "http://source.example/token", "is not asked over plain http")
_realm("an address with a login", f"https://robot:x@{ELSEWHERE}/token", "an address with credentials in it")


@CREDENTIALS.add(
    "a blob is at another host",
    Gets("copied", None, None),
    after=bare,
    auth="basic",
)
def storage_elsewhere(street: Street) -> None:
    """This is common; the login stays behind."""
    image = street.load(single("a", layers=(5000,)))
    street.elsewhere.load("app", image, "v1")
    street.source.faults.add(faults.redirect(street.elsewhere.url), kind="blob")


@CREDENTIALS.add(
    "another host, where a blob is, asks for a login",
    Gets(step="read blob", reason="not authorised at another host"),
    after=bare,
    auth="basic",
)
def storage_asks(street: Street) -> None:
    """Only the registry's own challenge gets the registry's login."""
    street.load(single("a", layers=(5000,)))
    street.source.faults.add(faults.redirect(street.elsewhere.url), kind="blob")
    challenge = {"WWW-Authenticate": 'Basic realm="source"'}
    street.elsewhere.faults.add(faults.answer(401, headers=challenge))


@CREDENTIALS.add("a manifest is at another host", Gets("copied", None, None), after=bare, auth="bearer")
def manifest_elsewhere(street: Street) -> None:
    """The token server is found without a token, and checked like any other."""
    image = street.load(single("a", layers=(5000,)))
    street.elsewhere.load("app", image, "v1")
    street.source.faults.add(faults.redirect(street.elsewhere.url), kind="manifest")


@CREDENTIALS.add("an upload is to go to another host", Gets("copied", None, None), after=bare, auth="basic")
def upload_elsewhere(street: Street) -> None:
    """Storage that accepts uploads itself looks like this; it gets no login."""
    street.load(single("a", layers=(5000,)))
    pushed: list[bytes] = []

    async def session(request: web.Request) -> web.Response:
        location = f"{street.elsewhere.url}/upload/{request.path.strip('/').replace('/', '-')}"
        return web.Response(status=202, headers={"Location": location})

    async def store(request: web.Request) -> web.Response:
        pushed.append(await request.read())
        return web.Response(status=201)

    async def accept(_: web.Request) -> web.Response | None:
        return web.Response(status=201) if len(pushed) >= 2 else None

    street.answer(street.target, session, method="POST", kind="upload")
    street.answer(street.elsewhere, store, method="PUT")
    street.answer(street.target, accept, method="PUT", kind="manifest")


@CREDENTIALS.add(
    "the token server redirects to another host",
    Gets(step="resolve", reason="redirects, and credentials are not sent along"),
    after=lambda street, _: _silent(street),
    auth="bearer",
)
def token_server_redirects(street: Street) -> None:
    """The request contains the login, so the redirect is not followed."""
    street.load(single("a"))

    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{street.elsewhere.url}/token"})

    street.answer(street.source, redirect, kind="token")


@CREDENTIALS.add(
    "a token that would end a header line",
    Gets(step="resolve", reason="gives no usable token"),
    auth="bearer",
)
def wicked_token(street: Street) -> None:
    """And the registry begins another upload."""
    street.load(single("a"))

    async def token(_: web.Request) -> web.Response:
        return web.json_response({"token": "abc\r\nX-Injected: yes"})

    street.answer(street.source, token, kind="token")


@CREDENTIALS.add(
    "a token of more than 1 MiB",
    Gets(step="resolve", reason="the response has more than 1048576 bytes"),
    auth="bearer",
)
def huge_token(street: Street) -> None:
    """No such protocol exists."""
    street.load(single("a"))

    async def token(_: web.Request) -> web.Response:
        return web.json_response({"token": "x" * 1024 * 1024})

    street.answer(street.source, token, kind="token")


@CREDENTIALS.add(
    "a token is refused again and again",
    Gets(step="resolve", reason="not authorised"),
    after=lambda street, _: _few_tokens(street),
    auth="bearer",
)
def tokens_in_vain(street: Street) -> None:
    """The client asks for a new token once."""
    street.load(single("a"))

    async def refuse(_: web.Request) -> web.Response:
        challenge = f'Bearer realm="{street.source.url}/token",service="fake-registry",error="invalid_token"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    street.answer(street.source, refuse, kind="manifest")


@CREDENTIALS.add("cookies are set", Gets("copied", None, None), after=lambda street, _: _no_cookies(street))
def cookies(street: Street) -> None:
    """The client keeps no cookie."""
    street.load(single("a"))
    street.source.faults.add(faults.headers({"Set-Cookie": "spy=1; Path=/"}))
    seen = street.source.intercept

    async def watch(request: web.Request) -> None:
        assert "Cookie" not in request.headers

    seen.append(watch)


def _silent(street: Street) -> None:
    assert not len(street.elsewhere.requests)


def _few_tokens(street: Street) -> None:
    assert street.source.requests.count(kind="token") <= 3


def _no_cookies(street: Street) -> None:
    assert len(street.source.requests)
