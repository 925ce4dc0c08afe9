"""A Chromium that somebody is signed in with, and what is wrong with a page in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

SIZES = {"desktop": (1600, 900), "phone": (390, 844)}
PATIENCE = 120_000  # ms; a busy machine takes a minute to read Grafana's scripts for the first time
# Asked by Grafana 12.2 itself whenever a page is opened, though public dashboards are off.
GRAFANAS_OWN = "/public-dashboards"


@contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """The browser, started with these arguments. Skips the test, with the reason, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *arguments])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def signed_in(browser: Any, url: str, login: str, password: str, size: str = "desktop") -> Iterator[Any]:
    """Pages of somebody who came through the sign-in form."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=url)
    context.set_default_timeout(PATIENCE)
    try:
        answer = context.request.post("/login", data={"user": login, "password": password})
        assert answer.status == 200, answer.text()
        yield context
    finally:
        context.close()


def look(page: Any, url: str, titles: list[str]) -> list[str]:
    """Opens a page of Grafana and says what is wrong: failed requests and ones to elsewhere, console and panel errors.

    It is scrolled to its end first: a panel asks for its data when it comes into view.
    """
    wrong: list[str] = []
    page.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if failed(answer) else None)
    page.on("request", lambda asked: wrong.append(f"asked {asked.url}") if elsewhere(asked.url, url) else None)
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if complaint(message) else None)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_selector("[data-viz-panel-key]")
    seen: set[str] = set()
    lost = [title for title in titles if not find(page, title, seen)]
    wrong.extend(f"the panel {title!r} is not there" for title in lost)
    page.wait_for_load_state("networkidle")
    errors = page.locator('[data-testid*="Panel status error"]')
    wrong.extend(f"a panel shows an error: {errors.nth(index).inner_text()}" for index in range(errors.count()))
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        wrong.append("it scrolls sideways")
    return wrong


def find(page: Any, title: str, seen: set[str]) -> bool:
    """Whether a heading comes into view, scrolling on from where we are."""
    for _ in range(60):
        seen.update(text.strip() for text in page.get_by_role("heading").all_inner_texts())
        if title in seen:
            return True
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(50)
    return False


def failed(answer: Any) -> bool:
    return answer.status >= 400 and not answer.url.endswith(GRAFANAS_OWN)


def elsewhere(asked: str, url: str) -> bool:
    """Whether somebody else than the Grafana of `url` is asked."""
    parts = urlsplit(asked)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(url).netloc


def complaint(message: Any) -> bool:
    return message.type == "error" and not message.location.get("url", "").endswith(GRAFANAS_OWN)
