"""The rules of the Go tool (eight in its README, others in its code), each against real registries."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_go_tool_files
from image_syncer.errors import ConfigError
from image_syncer.oci import PlatformFilter
from image_syncer.sync.result import Outcome
from image_syncer.testing.images import Image, multi, single
from support.registry_http import Peer
from support.syncs import by_target, sync_files

pytestmark = pytest.mark.real

TAGS = ("1.0", "1.1", "2.0", "latest")


@pytest.fixture
def images(source: Peer) -> dict[str, Image]:
    """Four tags with different images in `team/app` at the source."""
    made = {tag: single(f"rules/{tag}", layers=(500,)) for tag in TAGS}
    for tag, image in made.items():
        source.push("team/app", image, tag)
    return made


@pytest.mark.parametrize(
    ("selected", "tags"),
    [
        ("", TAGS),  # Row 2: without a tag all tags.
        (":1.0,2.0", ("1.0", "2.0")),  # Row 3: a comma list.
        (": 1.0 , 2.0 ", ("1.0", "2.0")),  # Row 3: blanks around the items do not count.
        (":/1/", ("1.0", "1.1")),  # Row 5: unanchored.
        (r":/^\d+\.0$/", ("1.0", "2.0")),
        (":/nothing/", ()),  # Row 5: no match is no failure.
    ],
)
async def test_what_a_source_selects(
    selected: str, tags: tuple[str, ...], images: dict[str, Image], source: Peer, target: Peer, tmp_path: Path
) -> None:
    """Rows 2, 3, 5 and 6: the selected tags arrive under their own names."""
    result = await sync_files(tmp_path, {f"{source.host}/team/app{selected}": f"{target.host}/mirror/app"})
    assert not result.failed
    assert target.tags("mirror/app") == sorted(tags)
    for tag in tags:
        assert target.manifest("mirror/app", tag) == images[tag].root.content


@pytest.mark.parametrize("empty", ["", [], None, 3, [""], ["a/b", None]])
async def test_neither_side_may_be_empty(empty: object, source: Peer, target: Peer, tmp_path: Path) -> None:
    """Row 1: an empty target stops the run before anything is contacted, with the line."""
    with pytest.raises(ConfigError, match=r"images\.json:1"):
        await sync_files(tmp_path, {f"{source.host}/team/app": empty})  # pyright: ignore[reportArgumentType] - the point
    with pytest.raises(ConfigError, match=r"images\.json:1"):
        await sync_files(tmp_path, {"": f"{target.host}/mirror/app"})


async def test_a_digest_keeps_itself_or_takes_a_tag(
    images: dict[str, Image], source: Peer, target: Peer, tmp_path: Path
) -> None:
    """Row 4: one digest; the target has none, the same, or a tag."""
    digest = images["1.0"].digest
    base = f"{target.host}/mirror"
    await sync_files(
        tmp_path, {f"{source.host}/team/app@{digest}": [f"{base}/plain", f"{base}/same@{digest}", f"{base}/tagged:t"]}
    )
    content = images["1.0"].root.content
    assert target.manifest("mirror/plain", str(digest)) == content
    assert target.manifest("mirror/same", str(digest)) == content
    assert target.manifest("mirror/tagged", "t") == content


async def test_target_tags_rename_by_position(
    images: dict[str, Image], source: Peer, target: Peer, tmp_path: Path
) -> None:
    """Row 7: the n-th tag of the source becomes the n-th of the target."""
    rules = {f"{source.host}/team/app:2.0,1.0": f"{target.host}/mirror/renamed:two,one"}
    assert not (await sync_files(tmp_path, rules)).failed
    assert target.manifest("mirror/renamed", "two") == images["2.0"].root.content
    assert target.manifest("mirror/renamed", "one") == images["1.0"].root.content


async def test_a_pattern_may_rename_by_position_too(
    images: dict[str, Image], source: Peer, target: Peer, tmp_path: Path
) -> None:
    """Row 7 with row 5: the tags come in lexical order, whatever order the registry lists them in."""
    rules = {f"{source.host}/team/app:/^1/": f"{target.host}/mirror/renamed:a,b"}
    assert not (await sync_files(tmp_path, rules)).failed
    assert target.manifest("mirror/renamed", "b") == images["1.1"].root.content


async def test_the_number_of_tags_must_agree(source: Peer, target: Peer, tmp_path: Path) -> None:
    """Row 7: an error that the file alone shows names its line."""
    with pytest.raises(ConfigError, match=r"images\.json:1"):
        await sync_files(tmp_path, {f"{source.host}/team/app:1.0,1.1": f"{target.host}/mirror/app:x"})


@pytest.mark.parametrize(("tags", "fails"), [(("only",), False), (("a", "b"), True)])
async def test_all_tags_and_one_target_tag(
    tags: tuple[str, ...],
    fails: bool,
    source: Peer,
    target: Peer,
    tmp_path: Path,
) -> None:
    """Row 11: fits only if the source has exactly one tag; otherwise one failure and nothing copied."""
    source.push("team/few", single("few"), *tags)
    result = await sync_files(tmp_path, {f"{source.host}/team/few": f"{target.host}/mirror/few:fixed"})
    assert result.failed is fails
    assert target.tags("mirror/few") == ([] if fails else ["fixed"])


async def test_every_target_of_a_list_is_served_once(
    images: dict[str, Image], source: Peer, target: Peer, tmp_path: Path
) -> None:
    """Row 8: targets are independent; repeated ones are dropped after variables are replaced."""
    base = f"{target.host}/mirror"
    rules = {f"{source.host}/team/app:1.0": [f"{base}/a", f"{base}/b:x", f"{base}/${{NAME}}"]}
    result = await sync_files(tmp_path, rules, environment={"NAME": "a"})
    assert sorted(by_target(result)) == ["mirror/a:1.0", "mirror/b:x"]
    assert target.manifest("mirror/b", "x") == images["1.0"].root.content


@pytest.mark.parametrize(
    ("source_part", "target_part"),
    [
        (":1.0@sha256:" + "0" * 64, ""),  # Row 9.
        (":1.0", ":/1/"),  # Row 10.
        ("@sha256:" + "0" * 64, "@sha256:" + "1" * 64),  # Row 4, another digest.
    ],
)
async def test_what_the_go_tool_took_by_accident_is_an_error(
    source_part: str, target_part: str, source: Peer, target: Peer, tmp_path: Path
) -> None:
    """Rows 9 and 10: nothing is dropped or guessed silently."""
    with pytest.raises(ConfigError, match=r"images\.json:1"):
        await sync_files(tmp_path, {f"{source.host}/team/app{source_part}": f"{target.host}/mirror/app{target_part}"})


async def test_duplicate_keys_are_an_error(source: Peer, target: Peer, tmp_path: Path) -> None:
    """Row 12: the first rule does not vanish behind the second; the message names the line."""
    rule = f"{source.host}/team/app: {target.host}/mirror/app\n"
    (tmp_path / "images.yaml").write_text(rule + rule)
    with pytest.raises(ConfigError, match=r"images\.yaml:2"):
        load_go_tool_files(auth=None, images=tmp_path / "images.yaml", platforms=PlatformFilter(), environment={})


async def test_platform_filters_apply_to_every_rule(source: Peer, target: Peer, tmp_path: Path) -> None:
    """`--os` and `--arch`: an index keeps the selected platforms; an image without any is skipped, which is success."""
    image = multi("rules/multi")
    source.push("team/multi", image, "v1")
    source.push("team/amd64", single("rules/amd64"), "v1")
    base = f"{target.host}/mirror"
    result = await sync_files(
        tmp_path,
        {f"{source.host}/team/multi:v1": f"{base}/multi", f"{source.host}/team/amd64:v1": f"{base}/amd64"},
        systems=["linux"],
        architectures=["arm:v7"],
    )
    outcomes = {name: entry.outcome for name, entry in by_target(result).items()}
    assert outcomes == {"mirror/multi:v1": Outcome.COPIED, "mirror/amd64:v1": Outcome.SKIPPED}
    assert not result.failed
    content = target.manifest("mirror/multi", "v1")
    assert content is not None
    assert content.count(b'"digest"') == 1
