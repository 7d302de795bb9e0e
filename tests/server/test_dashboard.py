"""The dashboard in a real browser: wide, narrow, dark, and while it refreshes."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest

from image_syncer.app import Options
from image_syncer.state import NewEvent, NewRun, Trigger
from image_syncer.structs import replace
from image_syncer.sync.result import Outcome
from server.serving import NOW, Databases, Running, fill, image, request_copy, running
from support.chromium import Tab, browser, chromium

pytestmark = pytest.mark.real

LONG: Final = "registry.example.com:5000/" + "/".join(["a-very-long-name-of-a-team-and-its-service"] * 4)
WIDER: Final = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
CUT: Final = "[...document.querySelectorAll('section')].filter((part) => part.scrollWidth > part.clientWidth).length"
SHADE: Final = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncGenerator[Tab]:
    """A browser."""
    if chromium() is None:
        pytest.skip("chromium is not installed")
    async with browser(tmp_path) as opened:
        yield opened


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Running]:
    """A daemon with a long history, whose page refreshes often."""
    monkeypatch.setattr("image_syncer.server.pages._REFRESH_SECONDS", 0.5)
    async with running(fill=fill_crowded) as server:
        yield server


async def fill_crowded(databases: Databases) -> None:
    """Record long names and many rows."""
    await fill(databases)
    state = databases.state
    for number in range(10, 30):
        run = await state.runs.begin(NewRun(Trigger.SCHEDULE, [LONG], NOW))
        failed = image("1", Outcome.FAILED, reason=f"{LONG}:{number}: not found; the registry answered 404")
        names = {
            "source": f"{LONG}:{number}",
            "target": f"{LONG}-mirror:{number}",
            "remedy": "check the name and the tag",
        }
        await state.runs.add(run, [replace(failed, **names)])
        job = await request_copy(databases, str(number))
        assert job is not None
        await databases.set_job(job, "failed", 5, f"{LONG}:{number}: not found")
        await state.events.record([NewEvent("harbor", LONG, str(number))], now=NOW)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
async def test_nothing_is_cut_off(site: Running, tab: Tab, width: int) -> None:
    """Neither the page nor a section scrolls sideways, however long the names are."""
    await tab.open(site.url, width)
    assert not await tab.look(WIDER)
    assert await tab.look(CUT) == 0


async def test_a_refresh_keeps_scroll_position_and_focus(site: Running, tab: Tab) -> None:
    """New data appears, and the policy lets no other script run."""
    await tab.open(site.url, 1280)
    await tab.look("document.querySelector('#events a').focus(); window.scrollTo(0, 700); window.mark = 1")
    await site.databases.state.runs.begin(NewRun(Trigger.REQUEST, ["brand-new"], NOW))
    await tab.until("document.querySelector('#runs').innerText.includes('brand-new')")
    assert await tab.look("[window.scrollY, window.mark, document.activeElement.tagName]") == [700, 1, "A"]
    await tab.look("document.body.setAttribute('onclick', 'window.mark = 2'); document.body.click()")
    assert await tab.look("window.mark") == 1


async def test_a_refresh_waits_while_text_is_selected(site: Running, tab: Tab) -> None:
    """It goes on when the selection ends."""
    await tab.open(site.url, 1280)
    await tab.look("getSelection().selectAllChildren(document.querySelector('#troubles td'))")
    await tab.look(
        "window.requests = 0; window.original = fetch;window.fetch = (...it) => (window.requests++, original(...it)); 0"
    )
    await tab.look("new Promise((done) => setTimeout(done, 1500))")
    assert await tab.look("window.requests") == 0
    await tab.look("getSelection().removeAllRanges()")
    site.databases.config.apply((), Options(), {})
    await tab.until("document.querySelector('#rules').innerText.includes('There are no rules')")


async def test_a_stale_page_says_so(site: Running, tab: Tab) -> None:
    """A page of a dead daemon shows that it is stale; a database that is down shows the reason until it is back."""
    await tab.open(site.url, 1280)
    site.databases.is_down = True
    await tab.until("document.querySelector('main').innerText.includes('disk I/O error')")
    site.databases.is_down = False
    await tab.until("document.querySelector('#runs') !== null")
    site.stop.set()
    await tab.until("getComputedStyle(document.querySelector('.outdated')).display === 'block'")


async def test_the_colours_follow_the_system(site: Running, tab: Tab) -> None:
    """Dark and light."""
    shades: list[object] = []
    for scheme in ("light", "dark"):
        await tab.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await tab.open(site.url, 1280)
        shades.append(await tab.look(SHADE))
    assert shades == ["rgb(247, 248, 250)", "rgb(18, 21, 26)"]
