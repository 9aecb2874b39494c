"""What every page of ours must be: well-formed, self-contained, shown by a browser."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "link", "img", "br", "wbr", "input", "hr"}


class Page(HTMLParser):
    """Every element that opens is closed, and what the page refers to is known."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href"):
                self.addresses.append(value)
            if name == "id":
                self.ids.add(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def check(self) -> None:
        """Everything is closed, no script is in it, nothing is asked for and every link leads."""
        assert self.open == []
        assert "script" not in self.elements
        for address in self.addresses:
            assert address.startswith(("data:", "#")), address
        assert {address[1:] for address in self.addresses if address[0] == "#"} <= self.ids


def browse(page: Path, profile: Path) -> str:
    """Let a real browser of a phone's width show a page; return what it made of it.

    The page's policy forbids every request, so a request is an error in the console.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium; on Debian: apt-get install chromium")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile / 'profile'}",
            "--enable-logging=stderr",
            "--window-size=390,844",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    return done.stdout
