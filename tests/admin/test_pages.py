"""Tests for the files that the dashboard is made of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import lmgateway
from tests.harness import GatewayCase

PACKAGE = Path(lmgateway.__file__).parent
STATIC = PACKAGE / "admin" / "static"


class PageTests(GatewayCase):
    """Tests for ``/`` and what belongs to it."""

    async def test_L7_0_nothing_comes_from_elsewhere(self) -> None:
        """Every file is our own, none names another place, and the policy would not let it."""
        self.start()
        for path in sorted(STATIC.iterdir()):
            got = await self.ask("GET", f"/static/{path.name}", admin=True)
            self.assertEqual((got.code, got.body), (200, path.read_bytes()))
            self.assertIn("default-src 'none'", got.headers["content-security-policy"])
            found = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"']*""", path.read_text())
            self.assertEqual([one for one in found if "www.w3.org" not in one], [], path.name)
            self.assertNotRegex(path.read_text(), r"innerHTML|outerHTML|insertAdjacentHTML|eval\(")

    async def test_L7_7b_without_javascript(self) -> None:
        """The page links to the JSON that it shows, and each of the links is good."""
        self.start()
        page = (STATIC / "index.html").read_text()
        without = page[page.index("<noscript>") : page.index("</noscript>")]
        links = re.findall('href="([^"]+)"', without)
        self.assertGreater(len(links), 4)
        for link in links:
            self.assertEqual((await self.ask("GET", f"/{link}", admin=True)).code, 200, link)

    def test_L7_7c_out_of_an_archive(self) -> None:
        """The files are found where the package is in a zip."""
        archive = Path(self.mktemp()).absolute()
        with zipfile.ZipFile(archive, "w") as whole:
            for path in PACKAGE.rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    whole.write(path, Path("lmgateway") / path.relative_to(PACKAGE))
        script = "from lmgateway.admin import pages; print(*pages._assets())"
        environ = {**os.environ, "PYTHONPATH": str(archive)}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environ,
            cwd=archive.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(set(done.stdout.split()), {path.name for path in STATIC.iterdir()})
