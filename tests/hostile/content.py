"""Content that differs from its digest or size, and malicious documents."""

import gzip
import json

from aiohttp import web

from hostile.behaviour import Gets, Table
from hostile.street import Street
from image_syncer.oci import Digest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.testing import Image, faults
from image_syncer.testing.images import multi, nested, single

CONTENT = Table("Content that is not what was promised")
DOCUMENTS = Table("Documents made to hurt")

BIG, SMALL = 3 * 1024 * 1024, 5000
OTHER = Digest.of(b"something else")


def serve_manifest(street: Street, content: bytes, kind: str = types.OCI_MANIFEST) -> None:
    """Serve *content* as the source's manifest, under its real digest."""
    digest = Digest.of(content)

    async def reply(request: web.Request) -> web.Response | None:
        if request.path.rpartition("/")[2] not in {street.tag, str(digest)}:
            return None
        return web.Response(body=content, headers={"Content-Type": kind, "Docker-Content-Digest": str(digest)})

    street.answer(street.source, reply, kind="manifest")


def document(**more: object) -> bytes:
    """Return a manifest with *more* members."""
    config = {"mediaType": types.OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "config": config, "layers": []} | more
    ).encode()


def with_child_size(image: Image, difference: int) -> Image:
    """Return *image*, an index, with a wrong size of its first child."""
    size = len(image.manifests[0].content)
    content = image.root.content.replace(b'"size":%d' % size, b'"size":%d' % (size + difference), 1)
    root = RawManifest.of(content, image.root.media_type)
    return Image(root, (*image.manifests[:-1], root), image.blobs)


@CONTENT.add(
    "HEAD names one digest for a tag, GET has another manifest",
    Gets(reason="the bytes have digest .* not "),
)
def head_and_get_differ(street: Street) -> None:
    """The plan uses the HEAD, so the GET requests that digest."""
    street.load(single("promised"))
    other = single("given").root

    async def reply(_: web.Request) -> web.Response:
        return web.Response(body=other.content, content_type=other.media_type)

    street.answer(street.source, reply, method="GET", kind="manifest")


@CONTENT.add("Docker-Content-Digest names what is not there", Gets(reason="not found"))
def digest_header_lies(street: Street) -> None:
    """A request for it gets another manifest."""
    street.load(single("a"))
    street.source.faults.add(faults.headers({"Docker-Content-Digest": str(OTHER)}), kind="manifest")


@CONTENT.add("a manifest with one byte altered", Gets(reason="the bytes have digest .* not "))
def altered_manifest(street: Street) -> None:
    """In the middle of the blob."""
    street.load(single("a"))
    street.source.faults.add(faults.altered(40), method="GET", kind="manifest")


@CONTENT.add("a small blob with one byte altered", Gets(step="read blob", reason="the bytes have digest .* not "))
def altered_small_blob(street: Street) -> None:
    """For instance a config."""
    street.load(single("a", layers=(SMALL,)))
    street.source.faults.add(faults.altered(3), kind="blob")


@CONTENT.add("a large layer with its last byte altered", Gets(step="read blob", reason="the bytes have digest .* not "))
def altered_layer(street: Street) -> None:
    """All bytes but the last have gone to the target by then, which cannot commit the blob."""
    street.load(single("a", layers=(BIG,)))
    street.source.faults.add(faults.altered(BIG - 1), kind="blob")


@CONTENT.add(
    "a layer with fewer bytes than its size",
    Gets(step="read blob", reason="ended after 10 of 3145728 bytes"),
)
def short_layer(street: Street) -> None:
    """The connection ends orderly."""
    big = street.load(single("a", layers=(BIG,)))
    layer = max(big.blobs.values(), key=lambda blob: blob.size_bytes).digest

    async def reply(request: web.Request) -> web.Response | None:
        return web.Response(body=b"0123456789") if str(layer) in request.path else None

    street.answer(street.source, reply, kind="blob")


@CONTENT.add("a layer that never ends", Gets(step="read blob", reason="the bytes have digest .* not "))
def endless_layer(street: Street) -> None:
    """In chunks, without a length."""
    big = street.load(single("a", layers=(BIG,)))
    layer = max(big.blobs.values(), key=lambda blob: blob.size_bytes).digest

    async def reply(request: web.Request) -> web.StreamResponse | None:
        if str(layer) not in request.path:
            return None
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):
            await response.write(b"x" * 65536)
        return response

    street.answer(street.source, reply, method="GET", kind="blob")


@CONTENT.add("a small blob that never ends", Gets(step="read blob", reason="the registry sends more than its size"))
def endless_config(street: Street) -> None:
    """It is read into memory, so only up to the size of a small blob."""
    street.load(single("a", layers=(SMALL,)))

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):
            await response.write(b"x" * 65536)
        return response

    street.answer(street.source, reply, method="GET", kind="blob")


@CONTENT.add(
    "after a break, other bytes for the rest of a layer", Gets(step="read blob", reason="the bytes have digest .* not ")
)
def altered_after_a_break(street: Street) -> None:
    """The verification continues after the break."""
    street.load(single("a", layers=(BIG,)))
    street.source.faults.add(faults.cut(1024 * 1024), method="GET", kind="blob", times=1)
    street.source.faults.add(faults.altered(1000), method="GET", kind="blob", after=1)


@CONTENT.add("after a break, another range than was asked for", Gets("copied", None, None))
def another_range(street: Street) -> None:
    """The layer is read again from its beginning, without a Range."""
    street.load(single("a", layers=(BIG,)))

    async def reply(request: web.Request) -> web.Response | None:
        if "Range" not in request.headers:
            return None
        return web.Response(status=206, body=b"x", headers={"Content-Range": f"bytes 0-0/{BIG}"})

    street.source.faults.add(faults.cut(1024 * 1024), method="GET", kind="blob", times=1)
    street.answer(street.source, reply, method="GET", kind="blob")


@CONTENT.add("an index that names a wrong size for a child", Gets(reason=r"its index says \d+ bytes, it has "))
def wrong_child_size(street: Street) -> None:
    """The digest is right, but every puller would refuse it."""
    street.load(with_child_size(multi("a"), 1))


@DOCUMENTS.add("a manifest of more than 4 MiB", Gets(reason=f"the response has more than {MANIFEST_LIMIT_BYTES} bytes"))
def huge_manifest(street: Street) -> None:
    """By one byte."""
    content = document()
    serve_manifest(street, content + b" " * (MANIFEST_LIMIT_BYTES + 1 - len(content)))


@DOCUMENTS.add("JSON nested 100 000 levels deep", Gets(reason="nested deeper than 64 levels"))
def deep_manifest(street: Street) -> None:
    """Parsers stop at a depth of a thousand."""
    serve_manifest(street, b"[" * 100_000 + b"]" * 100_000)


@DOCUMENTS.add("a million values in a manifest", Gets(reason="a document with more than 250000 values"))
def many_values(street: Street) -> None:
    """Two bytes each, and many more in memory."""
    serve_manifest(street, document(extra=[0] * 1_000_000).replace(b" ", b""))


@DOCUMENTS.add("10 001 layers", Gets(reason="refers to more than 10000 parts"))
def many_layers(street: Street) -> None:
    """Each would cost a request."""
    layer = {"mediaType": types.OCI_LAYER_GZIP, "digest": str(OTHER), "size": 1}
    serve_manifest(
        street, json.dumps(json.loads(document()) | {"layers": [layer] * 10_001}, separators=(",", ":")).encode()
    )


@DOCUMENTS.add("indexes nested 6 deep", Gets(reason="indexes nested deeper than 4 levels"))
def nested_indexes(street: Street) -> None:
    """No builder writes such an index."""
    street.load(nested("deep", 6))


@DOCUMENTS.add("a duplicate key", Gets(reason="a duplicate key; refused as ambiguous"))
def key_twice(street: Street) -> None:
    """Some parsers take the first, others the last."""
    serve_manifest(street, document()[:-1] + b', "layers": []}')


@DOCUMENTS.add(
    "both a manifest and an index (CVE-2021-41190)", Gets(reason="both a manifest and an index; refused as ambiguous")
)
def both_kinds(street: Street) -> None:
    """Its meaning depends on the parser."""
    serve_manifest(street, document(manifests=[]))


@DOCUMENTS.add("a Content-Type that the document contradicts", Gets(reason="refused as ambiguous"))
def other_type(street: Street) -> None:
    """An OCI manifest, served as Docker's."""
    serve_manifest(street, document(), types.DOCKER_MANIFEST)


@DOCUMENTS.add(
    "a digest that is a path (`sha256:../../etc/passwd`)", Gets(reason="a descriptor has an unusable digest")
)
def digest_with_a_path(street: Street) -> None:
    """It would become part of a URL."""
    config = {"mediaType": types.OCI_CONFIG, "digest": "sha256:../../../../etc/passwd", "size": 2}
    serve_manifest(street, document(config=config))


@DOCUMENTS.add(
    "a manifest that is compressed unasked",
    Gets(reason=r"the response is compressed \(gzip\), which we did not ask for"),
)
def compressed_manifest(street: Street) -> None:
    """Layers are never unpacked, so a bomb does no harm."""
    content = gzip.compress(document())
    street.load(single("a"))

    async def reply(_: web.Request) -> web.Response:
        headers = {"Content-Type": types.OCI_MANIFEST, "Content-Encoding": "gzip"}
        return web.Response(body=content, headers=headers)

    street.answer(street.source, reply, method="GET", kind="manifest")
