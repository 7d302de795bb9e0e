"""Archives of `docker save`: older ones get a manifest, newer ones have it."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from image_syncer.errors import NotFound, ProtocolError, Refused, StoreError
from image_syncer.oci import Digest, Manifest
from image_syncer.testing.images import single
from unit.layout.layout_kit import layout, opened, push

LAYERS = (b"first layer" * 100, b"second layer" * 50)
CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(x)) for x in LAYERS]},
    }
).encode()
SAVED: Mapping[str, bytes] = {
    "config.json": CONFIG,
    "one/layer.tar": LAYERS[0],
    "two/layer.tar": LAYERS[1],
}
LISTED: Mapping[str, Any] = {
    "Config": "config.json",
    "RepoTags": ["team/app:v1", "team/app:latest"],
    "Layers": ["one/layer.tar", "two/layer.tar"],
}


def save(
    path: Path, images: object, files: Mapping[str, bytes] = SAVED, links: Mapping[str, str] | None = None
) -> None:
    """Write an archive with *files*, symbolic *links* and the list *images*."""
    with tarfile.open(path, "w") as archive:
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        for name, content in {**files, "manifest.json": json.dumps(images).encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


async def read(path: Path, tag: str = "v1", name: str = "") -> tuple[str, Manifest, list[bytes]]:
    """Return the digest and the manifest of the image with *tag*, and its blobs, the config first."""
    async with opened() as stores:
        source = stores.source(layout(path, name, "docker-archive"))
        raw = await source.manifest(tag)
        manifest = raw.parse()
        assert isinstance(manifest, Manifest)
        contents: list[bytes] = []
        for blob in manifest.blobs:
            async with source.open(blob) as chunks:
                contents.append(b"".join([bytes(chunk) async for chunk in chunks]))
        return str(raw.digest), manifest, contents


async def test_an_older_archive_gets_a_manifest(tmp_path: Path) -> None:
    """With the same digest each time; both its tags name it, with and without the name."""
    path = tmp_path / "saved.tar"
    save(path, [LISTED])
    digest, manifest, contents = await read(path)
    assert contents == [CONFIG, *LAYERS]
    assert [layer.media_type for layer in manifest.layers] == ["application/vnd.oci.image.layer.v1.tar"] * 2
    for tag, name in (("v1", ""), ("latest", ""), ("v1", "team/app"), ("latest", "team/app")):
        assert (await read(path, tag, name))[0] == digest
    async with opened() as stores:
        source = stores.source(layout(path, scheme="docker-archive"))
        assert sorted([tag async for tag in source.tags()]) == ["latest", "v1"]
        assert (await source.manifest(digest)).digest == Digest.parse(digest)


async def test_several_images_and_links_between_their_layers(tmp_path: Path) -> None:
    """As older versions of docker save equal layers once."""
    path = tmp_path / "saved.tar"
    other = {"Config": "./config.json", "RepoTags": ["other:v2"], "Layers": ["two/layer.tar", "two/layer.tar"]}
    config = json.loads(CONFIG)
    config["rootfs"]["diff_ids"] = [config["rootfs"]["diff_ids"][1]] * 2
    files = {**SAVED, "other.json": json.dumps(config).encode()}
    del files["one/layer.tar"]
    files["base/layer.tar"] = LAYERS[0]
    save(path, [LISTED, {**other, "Config": "other.json"}], files, {"one/layer.tar": "../base/layer.tar"})
    assert (await read(path, "v1"))[2] == [CONFIG, *LAYERS]
    assert (await read(path, "v2"))[2] == [files["other.json"], LAYERS[1]]


async def test_compressed_layers_stay_compressed(tmp_path: Path) -> None:
    """Their digest is that of what is in the archive."""
    path = tmp_path / "saved.tar"
    packed = gzip.compress(LAYERS[0], mtime=0)
    save(path, [LISTED], {**SAVED, "one/layer.tar": packed})
    _, manifest, contents = await read(path)
    assert contents == [CONFIG, packed, LAYERS[1]]
    assert manifest.layers[0].media_type.endswith("tar+gzip")
    assert manifest.layers[0].digest.encoded == hashlib.sha256(packed).hexdigest()


async def test_an_image_without_a_name_is_the_only_one(tmp_path: Path) -> None:
    """As `docker save` of an image by its id writes it."""
    path = tmp_path / "saved.tar"
    save(path, [{**LISTED, "RepoTags": None}])
    assert (await read(path, "latest"))[2] == [CONFIG, *LAYERS]


async def test_a_newer_archive_is_a_layout(tmp_path: Path) -> None:
    """Its own manifests are read, whatever the list for older readers says."""
    path = tmp_path / "saved.tar"
    image = single("app")
    async with opened() as stores:
        await push(stores.target(layout(path, "team/app", "oci-archive")), image, "v1")
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("manifest.json"))
    assert (await read(path))[0] == str(image.digest)
    assert (await read(path, "v1", "team/app"))[0] == str(image.digest)


@pytest.mark.parametrize(
    ("images", "files", "error", "message"),
    [
        pytest.param(None, SAVED, ProtocolError, "not a list of images", id="no list"),
        pytest.param([1], SAVED, ProtocolError, "not a list of images", id="no images"),
        pytest.param([LISTED] * 1001, SAVED, Refused, "more than 1000", id="too many images"),
        pytest.param([{"Layers": [""]}], SAVED, ProtocolError, "without Config", id="no config"),
        pytest.param([{"Config": "config.json"}], SAVED, ProtocolError, "without Config and Layers", id="no layers"),
        pytest.param([{**LISTED, "Config": "../../etc/passwd"}], SAVED, NotFound, "not in the archive", id="a way out"),
        pytest.param(
            [{**LISTED, "Layers": ["one/layer.tar"]}], SAVED, ProtocolError, "2 layers by its config", id="fewer"
        ),
        pytest.param([LISTED], {**SAVED, "config.json": b"{}"}, ProtocolError, "without rootfs", id="no diff_ids"),
        pytest.param(
            [LISTED],
            {**SAVED, "config.json": b'{"rootfs":{"diff_ids":["sha256:../../x","x"]}}'},
            ProtocolError,
            "not a digest|needs exactly",
            id="a broken diff_id",
        ),
        pytest.param(
            [LISTED, {**LISTED, "Config": "other.json", "RepoTags": ["team/app:v1"]}],
            {**SAVED, "other.json": CONFIG + b" "},
            ProtocolError,
            "two images have the name 'team/app:v1'",
            id="one name twice",
        ),
        pytest.param([LISTED], {"config.json": CONFIG}, NotFound, "not in the archive", id="a missing layer"),
    ],
)
async def test_a_broken_archive_is_refused(
    tmp_path: Path, images: object, files: Mapping[str, bytes], error: type[StoreError], message: str
) -> None:
    """The error says what is wrong with it."""
    path = tmp_path / "saved.tar"
    save(path, images, files)
    with pytest.raises(error, match=message):
        await read(path)


async def test_an_archive_that_was_cut_between_its_files_is_named_as_such(tmp_path: Path) -> None:
    """Docker save writes the list last."""
    path = tmp_path / "saved.tar"
    save(path, [LISTED])
    with tarfile.open(path) as found:
        ends = [member.offset for member in found]
    content = path.read_bytes()
    for cut in ends:
        path.write_bytes(content[:cut])
        with pytest.raises(ProtocolError, match="cut off: the archive has no end"):
            await read(path)


async def test_a_layer_that_is_not_what_the_config_says_is_found(tmp_path: Path) -> None:
    """While it is read."""
    path = tmp_path / "saved.tar"
    save(path, [LISTED], {**SAVED, "two/layer.tar": LAYERS[1].replace(b"second", b"broken")})
    with pytest.raises(StoreError, match="the bytes have digest"):
        await read(path)


async def test_it_is_no_target(tmp_path: Path) -> None:
    """The error names the form that is."""
    async with opened() as stores:
        with pytest.raises(Refused, match="write oci-archive:FILE"):
            await push(stores.target(layout(tmp_path / "saved.tar", scheme="docker-archive")), single("app"), "v1")
