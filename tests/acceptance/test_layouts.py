"""Layouts on disk, as users copy from and to them; and kill -9 in the middle of a write."""

import json
import tarfile
from pathlib import Path

import pytest

from image_syncer.testing import Blob, FakeRegistry, Image, faults
from image_syncer.testing.images import multi, single
from support.command_line import CommandLine, wait_until

MIB = 1024 * 1024
BIG = Blob.generated("big", 6 * MIB)
IMAGE = single("app", layers=[BIG])

RULES = """
version: 1
registries:
  "{host}": {{insecure: true}}
rules:
  - name: out
    source: {host}/team/app
    targets: ['oci:mirror/{{repository}}', 'oci-archive:all.tar:{{repository}}']
  - name: back
    source: oci:mirror/team/app
    targets: {host}/back/app
  - name: back-from-archive
    source: oci-archive:all.tar:team/app
    targets: {host}/back/archive
"""


def unfinished(directory: Path) -> int:
    """Return the size of the unfinished blob in *directory*."""
    return sum(file.stat().st_size for file in directory.glob(".partial/sha256-*"))


def test_an_image_goes_to_a_layout_and_back(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """By the digest that it had; what the layout holds can be listed and inspected."""
    image = multi("app")
    source.load("team/app", image, "v1")
    assert cli.run("copy", "--quiet", f"{source.host}/team/app:v1", "oci:images", "oci-archive:app.tar").returncode == 0
    assert cli.run("tags", "oci:images").stdout == "v1\n"
    assert str(image.digest) in cli.run("inspect", "oci:images:v1").stdout
    for number, layout in enumerate(("oci:images:v1", "oci-archive:app.tar:v1", f"oci:images@{image.digest}")):
        assert cli.run("copy", "--quiet", layout, f"{target.host}/back/app:{number}").returncode == 0
        assert target.manifest("back/app", str(number)) == image.root
    again = cli.run("copy", f"{source.host}/team/app:v1", "oci:images", "oci-archive:app.tar")
    assert "unchanged  2" in again.stdout


def test_rules_have_layouts_on_both_sides(cli: CommandLine, source: FakeRegistry) -> None:
    """A dry run says what would be copied, and writes nothing."""
    for tag in ("v1", "v2"):
        source.load("team/app", multi(tag), tag)
    cli.write("mirror.yaml", RULES.format(host=source.host))
    dry = cli.run("sync", "-c", "mirror.yaml", "--rule", "out", "--dry-run", "--output", "json")
    assert json.loads(dry.stdout)["summary"]["copied"] == 4
    assert not (cli.directory / "mirror").exists()
    assert not list(cli.directory.glob("all.tar*"))
    assert cli.run("sync", "-c", "mirror.yaml", "--quiet", "--rule", "out").returncode == 0
    done = cli.run("sync", "-c", "mirror.yaml", "--output", "json")
    assert json.loads(done.stdout)["summary"] | {"requests": None} == json.loads(done.stdout)["summary"] | {
        "copied": 4,
        "unchanged": 4,
        "failed": 0,
        "requests": None,
    }
    for name in ("back/app", "back/archive"):
        assert source.manifest(name, "v2") == multi("v2").root


def test_missing_layouts_are_named(cli: CommandLine, target: FakeRegistry) -> None:
    """With what the layout has instead."""
    done = cli.run("copy", "oci:none:v1", f"{target.host}/app")
    assert done.returncode == 1
    assert "source: resolve: oci:none: not found" in done.stdout
    done = cli.run("tags", "oci-archive:none.tar")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("image-syncer: oci-archive:none.tar: no such file")


@pytest.mark.parametrize("layout", ["oci:images", "oci-archive:app.tar"])
def test_a_killed_write_continues(cli: CommandLine, source: FakeRegistry, layout: str) -> None:
    """SIGKILL while a big blob arrives: nothing half is seen, and the next run reads only the rest."""
    old = multi("old")
    source.load("app", old, "old")
    source.load("app", IMAGE, "v1")
    assert cli.run("copy", "--quiet", f"{source.host}/app:old", layout).returncode == 0
    path = cli.directory / layout.partition(":")[2]
    gathered = path if layout.startswith("oci:") else path.with_name("app.tar.partial")
    source.faults.add(faults.silence(600, after_bytes=4 * MIB), method="GET", path=f"*{BIG.digest}")
    killed = cli.start("copy", "--quiet", f"{source.host}/app:v1", layout)
    wait_until(lambda: unfinished(gathered) >= 2 * MIB)
    killed.kill()
    killed.wait()
    source.faults.clear()
    kept = unfinished(gathered)
    assert 2 * MIB <= kept <= 4 * MIB
    assert cli.run("tags", layout).stdout == "old\n"
    assert str(old.digest) in cli.run("inspect", f"{layout}:old").stdout

    source.requests.clear()
    assert cli.run("copy", "--quiet", f"{source.host}/app:v1", layout).returncode == 0
    assert source.requests.only(kind="blob").bytes_out <= 6 * MIB - kept + MIB // 2
    assert cli.run("tags", layout).stdout == "old\nv1\n"
    assert unfinished(gathered) == 0
    read_whole(path, IMAGE)


def test_a_write_that_is_killed_again_and_again_ends(cli: CommandLine, source: FakeRegistry) -> None:
    """Each process gets further; none starts over."""
    source.load("app", IMAGE, "v1")
    command = ("copy", "--quiet", f"{source.host}/app:v1", "oci:images")
    kept, sizes = 0, list[int]()
    for _ in range(3):
        source.faults.clear()
        source.faults.add(faults.silence(600, after_bytes=MIB + MIB // 2), method="GET", path=f"*{BIG.digest}")
        process = cli.start(*command)
        wait_until(lambda: unfinished(cli.directory / "images") > kept)  # noqa: B023 - called at once
        process.kill()
        process.wait()
        kept = unfinished(cli.directory / "images")
        sizes.append(kept)
    assert sizes == sorted(set(sizes))
    source.faults.clear()
    source.requests.clear()
    assert cli.run(*command).returncode == 0
    assert source.requests.only(kind="blob").bytes_out <= 6 * MIB - kept + MIB // 2
    read_whole(cli.directory / "images", IMAGE)


def read_whole(path: Path, image: Image) -> None:
    """Compare all blobs of *image* with those of the layout at *path*, read without the code under test."""
    for digest, blob in image.blobs.items():
        name = f"blobs/sha256/{digest.encoded}"
        if path.is_dir():
            assert (path / name).read_bytes() == blob.read()
            continue
        with tarfile.open(path) as archive:
            file = archive.extractfile(name)
            assert file is not None
            assert file.read() == blob.read()
