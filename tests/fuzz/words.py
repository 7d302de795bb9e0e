"""Seeds and building blocks of inputs for each parser."""

import json
from typing import Any, Final

from image_syncer.oci import Digest, media_type

_DIGEST: Final = str(Digest.of(b"x"))


def dumped(document: Any) -> bytes:
    """Return *document* as JSON."""
    return json.dumps(document).encode()


_DESCRIPTOR: Final = {"mediaType": media_type.OCI_MANIFEST, "digest": _DIGEST, "size": 3}
_PLATFORM: Final = {"architecture": "amd64", "os": "linux", "variant": "v8", "os.version": "10.0"}

MANIFESTS: Final = (
    dumped({"schemaVersion": 2, "config": _DESCRIPTOR, "layers": [_DESCRIPTOR], "subject": _DESCRIPTOR}),
    dumped({"schemaVersion": 2, "manifests": [{**_DESCRIPTOR, "platform": _PLATFORM, "annotations": {"a": "b"}}] * 2}),
    dumped(
        {
            "schemaVersion": 1,
            "fsLayers": [{"blobSum": _DIGEST}],
            "signatures": [{"protected": "eyJmb3JtYXRMZW5ndGgiOjF9"}],
        }
    ),
    dumped({**_PLATFORM, "rootfs": {}}),
    b'{"manifests":[{"digest":"' + _DIGEST.encode() + b'","size":1e999,"x":"\\ud83d"}]}',
)
REFERENCES: Final = (
    b"docker.io/library/nginx:1.27",
    b"[::1]:5000/a/b__c-d.e@" + _DIGEST.encode(),
    b"index.docker.io/x",
    b"localhost/a:b",
    b"sha512:" + b"0" * 128,
)
CHALLENGES: Final = (
    b'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push registry:catalog:*"',
    b'Basic realm="a \\"quoted\\" text", charset=UTF-8\nBearer realm=https://x/, error="insufficient_scope"',
    b"Negotiate abc==, Basic realm=x",
)
TOKENS: Final = (
    b'Bearer realm="https://auth.example/token?a=b",service="registry",scope="repository:a:pull"\n{"token":"abc"}',
    b'Bearer realm="/token",service="\xff"\n{"access_token":"abc","expires_in":1e999}',
    b'Basic realm="x"\n',
)
LINKS: Final = (
    b'</v2/a/tags/list?n=1&last=b>; rel="next"',
    b'<https://x/a,b>; title="a;b,\\"c"; rel="prev next", <y>; rel=first',
)
URLS: Final = (
    b"https://cdn.example:8443/a%2Fb?sig=%3D&x=1#part",
    b"//elsewhere.example/x",
    b"?n=2",
    b"http://registry.example/v2/",
    b"https://user:pass@[::ffff:127.0.0.1]:443/",
    b"https://0x7f.1/",
    "https://registry.example\u3002x/ä".encode(),
)
HEADS: Final = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n{}',
    b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.0 404 Not Found\r\nConnection: close, x\r\n\r\n",
    b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n",
)
CHUNKS: Final = (
    b"5\r\nhello\r\n1a;ext=1\r\n" + b"x" * 26 + b"\r\n0\r\nTrailer: x\r\n\r\n",
    b"0\r\n\r\nrest",
    b"1\r\nab\r\n",
)
REFUSALS: Final = (
    dumped({"errors": [{"code": "DENIED", "message": "no\x1b[2J", "detail": {"digest": _DIGEST}}] * 2}),
    dumped({"error": {"code": "x", "message": "https://a.example/x?sig=1"}}),
    dumped({"details": "toomanyrequests: Bearer aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}),
    b"<!DOCTYPE html><html><title>502 Bad</title><body>x</body></html>",
    b'"text"',
)
TIMES: Final = (b"120", b"Wed, 21 Oct 2037 07:28:00 GMT", b"Wed, 21 Oct 2037 07:28:00 -0000", b"1e400", b"-1", b"60.5")
RANGES: Final = (
    b"bytes 5-9/10",
    b"Bytes 0-999999999999999999/*",
    b" bytes 9-5/10 ",
    b"0-8388607",
    b"bytes=0-5",
    b"0-0",
)
FILES: Final = (
    (
        b"version: 1\nregistries:\n  a.io: {username: u, password: '${A}'}\nrules:\n"
        b"- {name: a, source: a.io/x, targets: [b.io/x], tags: ['1.*', '/^v/'], every: 1h}\n"
    ),
    b'{"images": {"a.io/x:/re/": "b.io/x", "nginx:1,2": ["b.io/n:3,4"]}, "auth": {"a.io": {"insecure": true}}}',
    b"app: {port: ':8080', auth: {user: a, pass: b}}\nregistry: {target: b.io, reg: [{source: a.io/x}]}\n",
    b"a: &x [1, 2]\nb: *x\nc: {<<: {d: e}}\n",
    b'// comment\n{"a": /* x */ [1, 2,], "b": 1e9, "\\ud83d\\ude00": null,}',
    (
        b"server: {listen: '127.0.0.1:1'}\nversion: 1\nhooks: {h: {kind: github, secret: x}}\n"
        b"queues: {q: {kind: redis, urls: 'redis://h', queue: a/b}}\nstate: {path: /x, keep: 30d}\n"
    ),
)
HOOKS: Final = (
    dumped({"events": [{"action": "push", "target": {"repository": "a/b", "tag": "v1", "digest": _DIGEST}}]}),
    dumped(
        {
            "type": "PUSH_ARTIFACT",
            "event_data": {
                "resources": [{"tag": "v", "resource_url": "h/a/b:v", "digest": _DIGEST}],
                "repository": {"repo_full_name": "a/b"},
            },
        }
    ),
    dumped({"push_data": {"tag": "v1"}, "repository": {"repo_name": "a/b", "repo_full_name": "a/b"}}),
    dumped({"message": {"data": "eyJhY3Rpb24iOiJJTlNFUlQiLCJ0YWciOiJoL2EvYjp2In0=", "messageId": "1"}}),
    dumped(
        {
            "specversion": "1.0",
            "type": "com.amazon.ecr.image.push",
            "source": "urn:aws:ecr:r:1:repository/a",
            "data": {"repositoryName": "a", "imageTag": "v"},
        }
    ),
    dumped([{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "x"}}]),
    dumped({"Name": "h.io/a/b", "Tag": "v1"}),
    b"payload=%7B%22action%22%3A%22published%22%7D&a=b",
    dumped(
        {
            "action": "published",
            "package": {
                "name": "a",
                "namespace": "b",
                "package_type": "CONTAINER",
                "package_version": {"container_metadata": {"tag": {"name": "v"}}},
            },
        }
    ),
)
PROOFS: Final = (b"Basic dXNlcjpwYXNz\n{}", b"bearer x\n", b"sha256=" + b"0" * 64 + b"\nbody")
LOGINS: Final = (
    dumped(
        {
            "auths": {"https://index.docker.io/v1/": {"auth": "dXNlcjpwYXNz"}, "a.io/b": {"identitytoken": "x"}},
            "credsStore": "x",
            "credHelpers": {"b.io": "y"},
        }
    ),
    dumped({"a.io": {"auth": "%%%"}}),
)
LOGS: Final = (b"plain", "a\x1b[2Jb\u202ec\nd".encode(), b"\xff\xfe")

JSON_WORDS: Final = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\"),
    *(b"null", b"true", b"1e999", b"-0", b"\\ud800", b"\\u0000", b'""', b"{}", b"[]"),
)
HTTP_WORDS: Final = (
    b"\r\n",
    b"\r",
    b"\n",
    b": ",
    b"chunked",
    b"Content-Length: ",
    b"Transfer-Encoding: ",
    b"0",
    b"ffffffff",
    b"\x00",
    b" ",
    b";",
)
URL_WORDS: Final = (
    b"https://",
    b"http://",
    b"//",
    b"@",
    b":",
    b"[",
    b"]",
    b"%",
    b"127.0.0.1",
    b"0x7f",
    b"..",
    b"?",
    b"#",
    b"\\",
    "\u3002".encode(),
)
TEXT_WORDS: Final = (
    b",",
    b'"',
    b"\\",
    b"=",
    b";",
    b"<",
    b">",
    b" ",
    b"\n",
    b"\t",
    b"\x1b[",
    "\u202e".encode(),
    b"\xed\xa0\x80",
    b"\x00",
)
YAML_WORDS: Final = (
    b"\n",
    b"  ",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"!!",
    b"|",
    b">",
    b"'",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"<<: ",
    b"${A}",
    b"\\UFFFFFFFF",
    b"#",
    b"---",
    b"%",
    b"? ",
)
RANGE_WORDS: Final = (b"bytes", b" ", b"=", b"-", b"/", b"*", b"0", b"9", b"9" * 18, b"-1", b"\xd9\xa3")
REFERENCE_WORDS: Final = (b"/", b":", b"@", b".", b"_", b"__", b"-", b"sha256:", b"docker.io", b"A", b"[", b"]")
