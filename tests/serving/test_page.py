"""The page, in a real browser that can reach nothing but the server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import MEND
from tests.browser import browser as find_browser
from tests.cli.conftest import photo
from tests.serving.conftest import Running, started

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_browser()
    assert program, MEND
    with sync_playwright() as tools:
        running = tools.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    """The page; whatever it logs as an error, and every request to another place, is a failure."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith((server.url, "data:", "blob:")) else faults.append(r.url))
    opened.goto(server.url)
    yield opened
    context.close()
    assert faults == []


@pytest.fixture
def shown(page: Page, tmp_path: Path) -> Page:
    """The page with a photo and every iteration of it."""
    page.set_input_files("#file", photo(tmp_path / "a.png", (64, 48)))
    expect(page.locator("#status")).to_have_text("Every iteration is there")
    return page


def divider(page: Page) -> float:
    return float(page.eval_on_selector("#stage", "e => parseFloat(e.style.getPropertyValue('--at'))"))


def test_a_chosen_photo_is_shown_before_and_after(shown: Page) -> None:
    before, after = (shown.get_attribute(name, "src") for name in ("#before", "#after"))
    assert before is not None
    assert after is not None
    assert before.startswith("data:image/png")
    assert before != after
    rows = shown.locator("#rows tr")
    expect(rows).to_have_count(3)
    assert all("ms" in text or " s" in text for text in rows.all_inner_texts())
    expect(shown.locator("#facts")).to_contain_text("onnxruntime cpu")


def test_the_divider_moves_by_keys_mouse_and_touch(
    shown: Page, browser: Browser, server: Running, tmp_path: Path
) -> None:
    shown.focus("#slide")
    for key, expected in (("ArrowLeft", 49), ("ArrowRight", 50), ("Home", 0), ("End", 100)):
        shown.keyboard.press(key)
        assert divider(shown) == expected
    box = shown.locator("#stage").bounding_box()
    assert box is not None
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    shown.mouse.down()
    shown.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    shown.mouse.up()
    assert divider(shown) == pytest.approx(25, abs=1)
    clip = shown.eval_on_selector("#before", "e => getComputedStyle(e).clipPath")
    assert "calc" in clip or "75" in clip
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    phone = context.new_page()
    phone.goto(server.url)
    phone.set_input_files("#file", photo(tmp_path / "b.png", (64, 48)))
    expect(phone.locator("#status")).to_have_text("Every iteration is there")
    box = phone.locator("#stage").bounding_box()
    assert box is not None
    phone.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + 30)
    assert divider(phone) == pytest.approx(80, abs=1)
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_the_slider_of_iterations_changes_picture_and_map(shown: Page) -> None:
    pictures = set()
    shown.focus("#n")
    shown.keyboard.press("Home")
    for n in (1, 2, 3):
        expect(shown.locator("#tag-after")).to_have_text(f"after, N = {n}")
        expect(shown.locator("#rows tr[aria-current]")).to_contain_text(str(n))
        pictures.add(shown.get_attribute("#after", "src"))
        shown.keyboard.press("ArrowRight")
    assert len(pictures) == 3
    shown.check("#change")
    expect(shown.locator("#legend-text")).to_contain_text("against N = 2")
    assert shown.get_attribute("#after", "src") not in pictures


def test_a_photo_can_be_dropped_and_pasted(page: Page, tmp_path: Path) -> None:
    data = base64.b64encode(photo(tmp_path / "a.png", (64, 48)).read_bytes()).decode()
    give = """([kind, data]) => {
        const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), box = new DataTransfer();
        box.items.add(new File([bytes], "a.png", { type: "image/png" }));
        dispatchEvent(kind == "drop" ? new DragEvent("drop", { dataTransfer: box, cancelable: true })
                                     : new ClipboardEvent("paste", { clipboardData: box }));
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give, [kind, data])
        expect(page.locator("#status")).to_have_text("Every iteration is there")
        page.click("#another")
        expect(page.locator("#drop")).to_be_visible()
        page.evaluate("document.getElementById('status').textContent = ''")


def test_the_restored_photo_can_be_saved(shown: Page, tmp_path: Path) -> None:
    with shown.expect_download() as waiting:
        shown.click("#save")
    assert waiting.value.suggested_filename == "a_restored.png"
    waiting.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as image:
        assert image.size == (64, 48)
        assert np.asarray(image).std() > 1


def test_every_control_has_a_name(shown: Page) -> None:
    tree = shown.locator("body").aria_snapshot()
    for name in (
        "Divider between before and after",
        "Number of reasoning iterations",
        "Show what iteration",
        "Save restored",
    ):
        assert name in tree
    named = "e => e.labels?.length || e.textContent || e.alt || e.ariaLabel"
    assert shown.evaluate(f"[...document.querySelectorAll('input, button, img')].every({named})")


def test_dark_and_light_are_both_there(browser: Browser, server: Running) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
        opened = context.new_page()
        opened.goto(server.url)
        grounds.append(opened.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    light, dark = (sum(int(part) for part in ground[4:-1].split(",")) for ground in grounds)
    assert light > 600 > 200 > dark


def test_what_is_no_photo_is_explained_and_another_can_follow(
    browser: Browser, server: Running, tmp_path: Path
) -> None:
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(server.url)
    (tmp_path / "bad.png").write_text("<script>alert(1)</script>")
    opened.set_input_files("#file", tmp_path / "bad.png")
    expect(opened.get_by_role("alert")).to_contain_text("not a picture")
    expect(opened.locator("#drop")).to_be_visible()
    opened.set_input_files("#file", photo(tmp_path / "good.png", (64, 48)))
    expect(opened.locator("#status")).to_have_text("Every iteration is there")
    expect(opened.get_by_role("alert")).to_be_hidden()
    context.close()


def test_a_model_of_one_iteration_says_so(browser: Browser, one_iteration: Path, tmp_path: Path) -> None:
    with started("-m", one_iteration) as running:
        context = browser.new_context()
        opened = context.new_page()
        opened.goto(running.url)
        opened.set_input_files("#file", photo(tmp_path / "a.png", (64, 48)))
        expect(opened.locator("#status")).to_have_text("Every iteration is there")
        expect(opened.locator("#single")).to_have_text("This model offers one number of iterations only: N = 1.")
        expect(opened.locator("#many")).to_be_hidden()
        context.close()
