"""
A real browser for tests: headless Chromium, driven over WebDriver.

Debian has both programs (``chromium`` and ``chromium-driver``).  Where they are
not there, ``missing()`` says so, for a test's ``skip``.

See https://www.w3.org/TR/webdriver2/.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The member by which WebDriver names an element."""
SHOTS = Path(os.environ.get("LMG_SCREENSHOTS", "build/screenshots")).absolute()
PATIENCE = 20.0
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
)


def missing() -> str | None:
    """Say which program is not there, if one is not."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


class Browser:
    """One browser window; ``start`` it, and ``stop`` it in a clean-up."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="browser")
        self._driver: subprocess.Popen[bytes] | None = None
        self._base = ""

    async def start(self, *, width: int = 1360, height: int = 900) -> None:
        """Start the driver and open a window."""
        log = Path(self._folder, "driver.log")
        with Path(self._folder, "out").open("wb") as out:
            self._driver = subprocess.Popen(
                ["chromedriver", "--port=0", f"--log-path={log}"],
                stdout=out,
                stderr=subprocess.DEVNULL,
            )
        port = await self._port()
        options = {
            "args": [
                *_ARGUMENTS,
                f"--user-data-dir={self._folder}/profile",
                f"--window-size={width},{height}",
            ],
            "binary": shutil.which("chromium"),
        }
        asked = {
            "capabilities": {
                "alwaysMatch": {
                    "goog:chromeOptions": options,
                    "goog:loggingPrefs": {"browser": "ALL"},
                }
            }
        }
        made = await self._ask("POST", f"http://127.0.0.1:{port}/session", asked)
        self._base = f"http://127.0.0.1:{port}/session/{made['sessionId']}"

    async def _port(self) -> int:
        out = Path(self._folder, "out")
        for _ in range(200):
            if found := re.search(r"started successfully on port (\d+)", out.read_text()):
                return int(found[1])
            await deferLater(reactor, 0.1)
        raise AssertionError("chromedriver did not start")

    async def stop(self) -> None:
        """Close the window and end the driver."""
        if self._base:
            await self._ask("DELETE", self._base)
        if self._driver is not None:
            self._driver.terminate()
            self._driver.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _ask(self, method: str, url: str, body: object = None) -> Any:
        data = json.dumps(body if body is not None else {}).encode()
        answer = await treq.request(
            method,
            url,
            data=data if method == "POST" else None,
            headers=Headers({"content-type": ["application/json"]}),
            persistent=False,
        )
        value = (await treq.json_content(answer))["value"]
        if answer.code != 200:
            raise AssertionError(f"the browser says: {value.get('message', value)}"[:800])
        return value

    async def go(self, url: str) -> None:
        """Load a page."""
        await self._ask("POST", f"{self._base}/url", {"url": url})

    async def run(self, script: str, *args: object) -> Any:
        """Run a script in the page; what it returns."""
        return await self._ask(
            "POST", f"{self._base}/execute/sync", {"script": script, "args": list(args)}
        )

    async def until(self, script: str, *args: object) -> Any:
        """Wait until an expression of the page is true, and give it."""
        clock: Any = reactor
        deadline = clock.seconds() + PATIENCE
        while not (value := await self.run(f"return ({script})", *args)):
            if clock.seconds() > deadline:
                text = await self.run("return document.body.innerText.slice(0, 1500)")
                raise AssertionError(f"never true: {script}\n{text}")
            await deferLater(clock, 0.1)
        return value

    async def text(self, selector: str) -> str:
        """Give the text of the first element that a selector finds."""
        return str(await self.until("document.querySelector(arguments[0])?.innerText", selector))

    async def _element(self, selector: str) -> str:
        found = await self._ask(
            "POST", f"{self._base}/element", {"using": "css selector", "value": selector}
        )
        return str(found[ELEMENT])

    async def click(self, selector: str) -> None:
        """Click as a person would: only what is there and in sight can be."""
        await self.until("document.querySelector(arguments[0])", selector)
        await self._ask("POST", f"{self._base}/element/{await self._element(selector)}/click")

    async def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        element = await self._element(selector)
        await self._ask("POST", f"{self._base}/element/{element}/value", {"text": text})

    async def accept(self) -> None:
        """Say yes to what the page asks."""
        await self._ask("POST", f"{self._base}/alert/accept")

    async def resize(self, width: int, height: int) -> None:
        """Make the window as small as a phone's, say; below 500 by emulation."""
        await self._ask(
            "POST",
            f"{self._base}/goog/cdp/execute",
            {
                "cmd": "Emulation.setDeviceMetricsOverride",
                "params": {
                    "width": width,
                    "height": height,
                    "deviceScaleFactor": 1,
                    "mobile": width < 600,
                },
            },
        )

    async def console(self) -> list[str]:
        """Give the complaints of the page since the last time, refused contents among them."""
        entries = await self._ask("POST", f"{self._base}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    async def shoot(self, name: str) -> Path:
        """Keep a picture of the window."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        path.write_bytes(b64decode(await self._ask("GET", f"{self._base}/screenshot")))
        return path
