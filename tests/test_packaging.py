"""
What is installed, and what is built.

``RUNTIME`` is the whole run-time set.  Each name here is code that sees every
prompt and every key; whoever adds one should have to write it down.
"""

from __future__ import annotations

import configparser
import re
import runpy
import site
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.application.service import IServiceMaker
from twisted.trial.unittest import SkipTest, SynchronousTestCase

CHECKOUT = Path(__file__).parent.parent

RUNTIME = {
    "attrs",
    "automat",
    "cachetools",
    "cattrs",
    "cffi",
    "click",
    "constantly",
    "cryptography",
    "httptools",
    "hyperlink",
    "idna",
    "incremental",
    "klein",
    "markupsafe",
    "msgspec",
    "multipart",
    "packaging",
    "prometheus-client",
    "pycparser",
    "pyopenssl",
    "service-identity",
    "six",
    "treq",
    "tubes",
    "twisted",
    "typing-extensions",
    "werkzeug",
    "zope-interface",
}


def declared() -> list[str]:
    """List what setup.cfg asks for."""
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    return config["options"]["install_requires"].strip().splitlines()


def closure(wanted: list[str]) -> set[str]:
    """Resolve *wanted* within what is installed here, with all that it brings along."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in wanted]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        for asked in {"", *requirement.extras} - {e for n, e in seen if n == name}:
            seen.add((name, asked))
            brought = metadata.requires(name) or []
            waiting.extend((Requirement(text), asked) for text in brought)
    return found


def locked(path: Path) -> set[str]:
    """List the names that the lock *path* pins."""
    return set(re.findall(r"^([a-z0-9-]+)==", path.read_text(), re.MULTILINE))


class RuntimeSetTests(SynchronousTestCase):
    def test_the_set_does_not_grow_unnoticed(self) -> None:
        """What the declared dependencies bring along is what RUNTIME lists, no more."""
        found = closure(declared())
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in sorted(found))
        sys.stdout.write(f"{len(found)} run-time packages: {versions} ... ")
        self.assertEqual(found, RUNTIME)

    def test_the_lock_holds_the_same_set(self) -> None:
        """The run-time lock pins what RUNTIME lists, and the other locks agree with it."""
        lock = CHECKOUT / "requirements" / "runtime.txt"
        self.assertEqual(locked(lock), RUNTIME)
        pins = set(re.findall(r"^\S+==\S+", lock.read_text(), re.MULTILINE))
        for other in ("test", "check"):
            text = lock.with_name(f"{other}.txt").read_text()
            self.assertEqual(pins - set(re.findall(r"^\S+==\S+", text, re.MULTILINE)), set())

    def test_every_pin_has_a_hash(self) -> None:
        """Nothing is installed that the locks do not know by its digest."""
        for lock in (CHECKOUT / "requirements").glob("*.txt"):
            for block in re.split(r"^(?=\S+==)", lock.read_text(), flags=re.MULTILINE)[1:]:
                self.assertIn("--hash=sha256:", block, lock.name)

    def test_setup_and_lock_ask_for_the_same(self) -> None:
        """setup.cfg and requirements/runtime.in name the same packages and versions."""
        text = (CHECKOUT / "requirements" / "runtime.in").read_text()
        self.assertEqual(re.findall(r"^[^#\s].*", text, re.MULTILINE), declared())


class EnvironmentTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Only an environment that ``make`` made is ours to judge."""
        self.packages = Path(sysconfig.get_path("purelib"))
        if not (Path(sys.prefix) / "runtime").exists():
            raise SkipTest("not run in the environment that make builds")

    def test_no_code_runs_at_each_start_of_python(self) -> None:
        """No .pth file holds code, and nothing customises the start."""
        running = [
            path.name
            for folder in {*site.getsitepackages(), str(self.packages)}
            for path in Path(folder).glob("*.pth")
            if re.search(r"^import\s", path.read_text(), re.MULTILINE)
        ]
        self.assertEqual(running, [])
        self.assertEqual(list(self.packages.glob("*customize*")), [])

    def test_twistd_knows_the_gateway(self) -> None:
        """Anywhere on the machine, the environment's twistd lists our plugin."""
        code = (
            "from twisted.application.service import IServiceMaker\n"
            "from twisted.plugin import getPlugins\n"
            "print(*(maker.tapname for maker in getPlugins(IServiceMaker)))"
        )
        result = subprocess.run(
            [sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True
        )
        self.assertIn("lmgateway", result.stdout.split())
        self.assertEqual(result.stderr, "")

    def test_the_plugin_cache_is_prebuilt(self) -> None:
        """No start has to write beside the code, which may be read-only."""
        folder = self.packages / "twisted" / "plugins"
        cache = folder / "dropin.cache"
        newest = max(path.stat().st_mtime for path in folder.glob("*.py"))
        self.assertGreaterEqual(cache.stat().st_mtime, newest)
        self.assertIn(b"lmgateway_plugin", cache.read_bytes())


class PluginTests(SynchronousTestCase):
    def test_twisted_finds_its_own_plugins_beside_ours(self) -> None:
        """Our folder of plugins is no package, or it would hide all others."""
        for folder in (CHECKOUT / "twisted", CHECKOUT / "twisted" / "plugins"):
            self.assertFalse((folder / "__init__.py").exists())

    def test_the_plugin_names_what_exists(self) -> None:
        """What the plugin points at can be imported and makes services."""
        path = CHECKOUT / "twisted" / "plugins" / "lmgateway_plugin.py"
        maker = runpy.run_path(str(path))["lmgateway"]
        self.assertTrue(IServiceMaker.providedBy(maker))
        self.assertEqual(maker.tapname, "lmgateway")
        if find_spec(maker.module) is None:
            raise SkipTest(f"{maker.module} is not written yet")
        self.assertTrue(callable(maker.makeService))
        self.assertTrue(callable(maker.options))


class WheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Judge the wheel that make built last."""
        wheels = list((CHECKOUT / "build" / "wheel").glob("*.whl"))
        if len(wheels) != 1:
            raise SkipTest("no wheel was built here (make wheel)")
        sources = (CHECKOUT / "lmgateway").rglob("*.py")
        if wheels[0].stat().st_mtime < max(path.stat().st_mtime for path in sources):
            raise SkipTest("the wheel is older than the checkout (make wheel)")
        with zipfile.ZipFile(wheels[0]) as wheel:
            self.names = set(wheel.namelist())
            (metadata_name,) = (name for name in self.names if name.endswith("/METADATA"))
            self.metadata = wheel.read(metadata_name).decode()

    def test_the_wheel_holds_every_module(self) -> None:
        """Each module and each file of package data of the checkout is in the wheel."""
        expected = {
            str(path.relative_to(CHECKOUT))
            for path in (CHECKOUT / "lmgateway").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        self.assertEqual(expected - self.names, set())

    def test_the_wheel_holds_nothing_else(self) -> None:
        """No tests, no caches and no foreign packages are shipped."""
        allowed = re.compile(
            r"lmgateway/(?!.*__pycache__)|twisted/plugins/lmgateway_plugin\.py$|lmgateway-.*\.dist-info/"
        )
        self.assertEqual([name for name in self.names if not allowed.match(name)], [])

    def test_the_wheel_asks_for_what_setup_declares(self) -> None:
        """The metadata names the same run-time dependencies as setup.cfg, and the licence."""
        wanted = re.findall(r"^Requires-Dist: (.*)$", self.metadata, re.MULTILINE)
        asked = [line for line in wanted if "extra ==" not in line]
        self.assertEqual(sorted(map(str, map(Requirement, declared()))), sorted(asked))
        self.assertIn("License: MIT", self.metadata)
