"""The machine's own Chromium, without a window, as fixtures: what a page does is seen in a
browser, not of its source.

`browser` is one process a module; `page` a fresh profile a test; `seen` what that page did: errors,
dialogs, messages on the console and requests. A machine without Chromium or playwright skips, and
says which is missing.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-quic", "--disable-background-networking")
PHONE = {"width": 390, "height": 844}


@dataclass
class Seen:
    """What a page did: uncaught errors, alerts and the like, console messages as (kind, text),
    addresses requested.
    """

    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    console: list[tuple[str, str]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """Uncaught errors, and console messages of the kind `error`: what a policy blocked is among
        them.
        """
        return [*self.errors, *(text for kind, text in self.console if kind == "error")]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A playwright Browser."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="requirements-dev.txt: playwright isn't installed"
    )
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A playwright Page in a profile of its own, 1200 × 800; `page.set_viewport_size(PHONE)` makes
    it a phone's.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def seen(page) -> Seen:
    """What ``page`` does from here on; dialogs are noted and dismissed."""
    record = Seen()

    def dialog(said) -> None:
        record.dialogs.append(said.message)
        said.dismiss()

    page.on("dialog", dialog)
    page.on("pageerror", lambda error: record.errors.append(str(error)))
    page.on("console", lambda message: record.console.append((message.type, message.text)))
    page.on("request", lambda request: record.requests.append(request.url))
    return record
