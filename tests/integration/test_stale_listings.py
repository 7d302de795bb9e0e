"""A vendor's listing of digests that lags behind its registry."""

import json
from pathlib import Path

from aiohttp import web

from image_syncer.app import Options, open_app
from image_syncer.config.load import load_go_tool_files
from image_syncer.oci import PlatformFilter
from image_syncer.testing import Accounts, FakeRegistry, profiles
from image_syncer.testing.images import single

PULL = Accounts(anonymous={"*": frozenset({"pull"})})


async def test_an_event_asks_by_head_whatever_the_listing_says(tmp_path: Path) -> None:
    """The scheduled run takes the word of the listing for a day, and the event of the same process does not."""
    images = [single(f"lagging {number}", layers=(10,)) for number in range(13)]
    async with FakeRegistry(profiles.HARBOR.guarded(PULL)) as source, FakeRegistry() as target:
        for number in range(12):
            source.load("p/app", images[number], f"v{number}")
        (tmp_path / "images.json").write_text(json.dumps({f"{source.host}/p/app": f"{target.host}/app"}))
        (tmp_path / "auth.json").write_text("{}")
        rules = load_go_tool_files(
            auth=tmp_path / "auth.json", images=tmp_path / "images.json", platforms=PlatformFilter(), environment={}
        ).rules
        kept: list[str] = []

        async def lag(request: web.Request) -> web.StreamResponse | None:
            if not request.path.startswith("/api/"):
                return None
            if not kept:
                response = await request.match_info.handler(request)
                assert isinstance(response, web.Response)
                document = json.loads(str(response.text))
                document[0]["tags"][0]["push_time"] = "2024-01-01T00:00:00Z"  # So this tag gets the HEAD.
                kept.append(json.dumps(document))
            return web.Response(text=kept[0], content_type="application/json")

        source.intercept.append(lag)
        async with open_app(Options((), environment={}, home=tmp_path)) as syncer:
            assert {entry.outcome for entry in (await syncer.sync(rules)).results} == {"copied"}
            newest = json.loads(kept[0])[0]["tags"][0]["name"]
            moved = next(f"v{number}" for number in range(12) if f"v{number}" != newest)
            source.load("p/app", images[12], moved)
            assert {entry.outcome for entry in (await syncer.sync(rules)).results} == {"unchanged"}
            event = source.repository("p/app").tag(moved)
            copied = await syncer.copy(event, [target.repository("app").tag(moved)])
            assert [entry.outcome for entry in copied.results] == ["copied"]
        held = target.manifest("app", moved)
        assert held is not None
        assert held.digest == images[12].root.digest
