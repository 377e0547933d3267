"""Draws docs/page-*.png: the server's page with scikit-image's cat, made noisy, in a real browser.

python benchmarks/page_picture.py [URL of a running `nafdeploy serve`]
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from nafnet_deploy.runtime.demo import sample_photograph

DOCS = Path(__file__).parents[1] / "docs"
SIGMA = 25


def noisy_photograph() -> bytes:
    """The photograph with noise, PNG."""
    clean = sample_photograph()
    noisy = clean + np.random.default_rng(0).normal(scale=SIGMA, size=clean.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(file, format="PNG")
    return file.getvalue()


def draw(page: Page, url: str, name: str, change: bool = False) -> None:
    """One picture of the page after every iteration has come."""
    page.goto(url)
    page.set_input_files("#file", {"name": "cat.png", "mimeType": "image/png", "buffer": noisy_photograph()})
    expect(page.locator("#status")).to_have_text("Every iteration is there", timeout=300_000)
    page.focus("#slide")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    if change:
        page.check("#change")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(600)  # the bar of progress runs back
    page.screenshot(path=DOCS / name)


def main(url: str) -> None:
    """Both pictures: light on a desk, dark on a phone."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))))
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=["--no-sandbox"])
        desk = browser.new_context(viewport={"width": 1100, "height": 980}, color_scheme="light")
        draw(desk.new_page(), url, "page-light.png")
        phone = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", is_mobile=True)
        draw(phone.new_page(), url, "page-phone.png", change=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
