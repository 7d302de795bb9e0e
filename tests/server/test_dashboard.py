"""The dashboard as a person sees it, in a real browser: wide, narrow, dark, and while it looks again."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from server.memory_backend import MemoryBackend, Running, filled, running
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
    """A daemon with much to tell, whose page looks again soon."""
    monkeypatch.setattr("image_syncer.server.pages._REFRESH_SECONDS", 0.5)
    async with running(memory=crowded()) as server:
        yield server


def crowded() -> MemoryBackend:
    """Return a backend with long names and many rows."""
    memory = filled()
    (image,) = memory.image_rows[1:]
    job, event, run = memory.job_rows[0], memory.event_rows[0], memory.run_rows[0]
    for number in range(10, 30):
        reason = f"{LONG}:{number}: not found; the registry answered 404"
        names: Any = {"source": f"{LONG}:{number}", "target": f"{LONG}-mirror:{number}"}
        memory.image_rows.append(replace(image, id=number, **names, reason=reason, remedy="check the name and the tag"))
        memory.job_rows.append(replace(job, id=number, **names))
        memory.event_rows.append(replace(event, id=number, repository=LONG, tag=str(number)))
        memory.run_rows.append(replace(run, id=number, rules=[LONG]))
    return memory


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
async def test_nothing_is_cut_off(site: Running, tab: Tab, width: int) -> None:
    """Neither the page nor a part of it has to be moved sideways, however long the names are."""
    await tab.open(site.url, width)
    assert not await tab.look(WIDER)
    assert await tab.look(CUT) == 0


async def test_it_looks_again_and_leaves_the_reader_where_he_is(site: Running, tab: Tab) -> None:
    """What is new is there, the page is scrolled and focused as it was, and our policy lets nothing else run."""
    await tab.open(site.url, 1280)
    await tab.look("document.querySelector('#events a').focus(); window.scrollTo(0, 700); window.mark = 1")
    site.memory.run_rows.append(replace(site.memory.run_rows[-1], id=4711, rules=["brand-new"]))
    await tab.until("document.querySelector('#runs').innerText.includes('brand-new')")
    assert await tab.look("[window.scrollY, window.mark, document.activeElement.tagName]") == [700, 1, "A"]
    await tab.look("document.body.setAttribute('onclick', 'window.mark = 2'); document.body.click()")
    assert await tab.look("window.mark") == 1


async def test_it_does_not_pull_a_selection_away(site: Running, tab: Tab) -> None:
    """Who copies an error does so in peace; afterwards it goes on."""
    await tab.open(site.url, 1280)
    await tab.look("getSelection().selectAllChildren(document.querySelector('#troubles td'))")
    await tab.look(
        "window.asked = 0; window.asking = fetch; window.fetch = (...it) => (window.asked++, asking(...it)); 0"
    )
    await tab.look("new Promise((done) => setTimeout(done, 1500))")
    assert await tab.look("window.asked") == 0
    await tab.look("getSelection().removeAllRanges()")
    site.memory.rule_rows.clear()
    await tab.until("document.querySelector('#rules').innerText.includes('There are no rules')")


async def test_it_says_when_it_is_old(site: Running, tab: Tab) -> None:
    """A daemon that is gone leaves no page that looks alive; a store that is down is told, and its end as well."""
    await tab.open(site.url, 1280)
    site.memory.down = True
    await tab.until("document.querySelector('main').innerText.includes('disk I/O error')")
    site.memory.down = False
    await tab.until("document.querySelector('#runs') !== null")
    site.stop.set()
    await tab.until("getComputedStyle(document.querySelector('.old')).display === 'block'")


async def test_it_is_dark_where_the_reader_wants_that(site: Running, tab: Tab) -> None:
    """The colours of the page are those of the system."""
    shades: list[object] = []
    for scheme in ("light", "dark"):
        await tab.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await tab.open(site.url, 1280)
        shades.append(await tab.look(SHADE))
    assert shades == ["rgb(247, 248, 250)", "rgb(18, 21, 26)"]
