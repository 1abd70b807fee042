"""Chromium, tabs with the page, and both relays in front of one `makima-tts dev`.

SCREENSHOTS=folder writes a screenshot at the end of each test, and where a test asks for more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.opened import SCRIPTED_ADDRESS, Opened, ScriptedRelay
from tests.browser.running import Dev, running_dev
from tests.relay import relays
from tests.stream.servers import HOST

Open = Callable[..., Opened]
Scripted = tuple[Opened, ScriptedRelay]

CHROMIUM = shutil.which("chromium")
SCREENSHOTS = os.environ.get("SCREENSHOTS")


# Playwright's synchronous interface keeps an event loop running. Asynchronous tests cannot run beside it, so it ends
# with the package.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: install Debian's chromium to run the page's tests")
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start for root. Its rule on sound before a gesture stays as users have it.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def new_tab(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Makes tabs without a page. options: of the browser's context. Fails where a tab logged an error."""
    contexts: list[BrowserContext] = []
    tabs: list[Opened] = []

    def make(**options: object) -> Opened:
        contexts.append(browser.new_context(**options))  # type: ignore[arg-type]
        tabs.append(Opened(contexts[-1].new_page()))
        return tabs[-1]

    yield make
    for number, tab in enumerate(tabs):
        tab.save(SCREENSHOTS, f"{request.node.name}{number or ''}".translate(str.maketrans("[] /", "__  ")).strip("_ "))
    for context in contexts:
        context.close()
    assert [tab.problems for tab in tabs] == [[]] * len(tabs)


@pytest.fixture
def scripted(new_tab: Open) -> Callable[..., Scripted]:
    """Opens the page in front of a relay that the test plays. path: of the address; script: runs before the page's."""

    def open_page(path: str = "", script: str | None = None, **options: object) -> Scripted:
        tab = new_tab(**options)
        relay = ScriptedRelay(tab.page)
        if script is not None:
            tab.page.add_init_script(script)
        tab.page.goto(SCRIPTED_ADDRESS + path)
        tab.wait_for("c.connection === 'ready'")
        return tab, relay

    return open_page


@pytest.fixture(scope="package")
def dev() -> Iterator[Dev]:
    """`makima-tts dev --web-port`, as a user starts it."""
    with running_dev() as one:
        yield one


@pytest.fixture(scope="package", params=["python", "rust"])
def address(request: pytest.FixtureRequest, browser: Browser, dev: Dev) -> Iterator[str]:
    """Of the page that a relay serves: dev's own, and the Rust relay on the same Redis."""
    if request.param == "python":
        yield dev.address
        return
    if (built := relays.rust()) is None:
        pytest.skip(relays.NOT_BUILT)
    with relays.relay(built, redis_url=dev.redis_url) as relay:
        yield f"http://{HOST}:{relay.port}/"


@pytest.fixture
def open_at(new_tab: Open) -> Callable[..., Opened]:
    """Opens the page of a relay. script: runs before the page's."""

    def open_page(address: str, script: str = "") -> Opened:
        tab = new_tab()
        tab.page.add_init_script(script)
        tab.page.goto(address)
        return tab

    return open_page
