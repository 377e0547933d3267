"""The browser of the page's tests: a Chromium or Chrome that is there, or one that this fetches.

`python -m tests.browser` fetches one where there is none: Debian's for root, else Playwright's for this user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MEND = "the page's tests need a browser: install Chromium or Chrome, or run `playwright install chromium`"


def browser() -> str | None:
    """Path of a browser that starts; None where there is none."""
    for program in filter(None, map(shutil.which, NAMES)):
        # Ubuntu's package of this name is a script that asks for another one
        if subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0:
            return program
    with sync_playwright() as tools:
        own = tools.chromium.executable_path
    return own if Path(own).exists() else None


def main() -> None:
    """Fetches a browser where there is none."""
    if browser():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update"], stdout=subprocess.DEVNULL, check=False)
        install = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
        subprocess.run(
            install, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False
        )
    if not browser():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if not browser():
        raise SystemExit(MEND)


if __name__ == "__main__":
    main()
