"""The console script, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner, Result

from lmgateway.commands.cli import EX_CONFIG, main
from lmgateway.commands.init import STARTER
from tests.config.folder import BASE, FolderTestCase
from tests.wire.sockets import Authority

ROOT = Path(__file__).parents[2]


class CommandTestCase(FolderTestCase):
    """Runs commands in this process."""

    def run_command(self, *words: str, **environ: str) -> Result:
        """Run a command line, with no environment but *environ*."""
        with patch.dict(os.environ, environ, clear=True):
            return CliRunner().invoke(main, words)


class CheckTests(CommandTestCase):
    """``lmgateway check``."""

    def test_a_good_config_is_summed_up(self) -> None:
        """Exit status 0, and what would be served."""
        self.write("config.toml", BASE)
        result = self.run_command("check", "--config", str(self.source))
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertIn("client  http://127.0.0.1:8080\n", result.stdout)
        self.assertIn("local:fast     mock  fast-model     openai, ", result.stdout)

    def test_a_bad_config_is_reported(self) -> None:
        """Exit status 78, each problem on a line of stderr, and how many."""
        self.write("config.toml", BASE.replace("mode =", "mod =").replace('"mock"', '"mok"', 1))
        result = self.run_command("check", "--config", str(self.source))
        self.assertEqual((result.exit_code, result.stdout), (EX_CONFIG, ""))
        self.assertIn(f"{self.source}:16: profiles.default.mod: unknown key", result.stderr)
        self.assertIn("there is no backend", result.stderr)
        self.assertTrue(result.stderr.endswith("2 problems: the config is not used\n"))

    def test_what_would_not_start_is_not_good(self) -> None:
        """Faults that only show when a backend is built are told here too."""
        roots = Authority(self.folder).path
        for url, more, what in (
            ("http://a..b", "", "names no host"),
            ("http://u:p@localhost", "", "must not hold credentials"),
            ("http://localhost", f'ca_file = "{roots.name}"', "no meaning for an http:// URL"),
        ):
            backend = f'[backends.odd]\nbase_url = "{url}"\n{more}\n'
            self.write("config.toml", BASE + backend)
            result = self.run_command("check", "--config", str(self.source))
            self.assertEqual((result.exit_code, result.stdout), (EX_CONFIG, ""))
            self.assertIn(what, result.stderr)

    def test_a_missing_config_is_reported(self) -> None:
        """Like any other fault."""
        result = self.run_command("check", "--config", str(self.folder / "no.toml"))
        self.assertEqual(result.exit_code, EX_CONFIG)
        self.assertIn("cannot be read: No such file", result.stderr)

    def test_R_C24_the_environment_names_the_file(self) -> None:
        """Unless the command line does; an empty variable names none."""
        self.write("config.toml", BASE)
        self.assertEqual(self.run_command("check", LMG_CONFIG=str(self.source)).exit_code, 0)
        other = self.run_command("check", "--config", "no.toml", LMG_CONFIG=str(self.source))
        self.assertIn("no.toml", other.stderr)
        for environ in ({}, {"LMG_CONFIG": ""}):
            default = self.run_command("check", **environ)
            self.assertIn("/etc/lm-gateway/config.toml", default.output)

    def test_no_secret_is_printed(self) -> None:
        """Neither in the summary nor in a report: nor in why an address cannot be served."""
        client = '[[clients]]\nkey_env = "KEY"\nprofile = "default"\n'
        for base, status in (
            (BASE, 0),
            (BASE.replace("http://", "http://u:canary@"), EX_CONFIG),
        ):
            self.write("config.toml", base + client)
            result = self.run_command("check", "--config", str(self.source), KEY="canary" * 4)
            self.assertEqual(result.exit_code, status)
            self.assertNotIn("canary", result.output)


class OtherCommandTests(CommandTestCase):
    """The rest of the script."""

    def test_a_bare_command_helps(self) -> None:
        """It names every command."""
        result = self.run_command()
        self.assertEqual(result.exit_code, 0)
        for command in ("check", "config", "healthcheck", "init", "serve"):
            self.assertIn(f"\n  {command} ", result.output)

    def test_the_version_is_told(self) -> None:
        """In the usual way."""
        result = self.run_command("--version")
        self.assertEqual(result.exit_code, 0)
        self.assertTrue(result.output.startswith("lmgateway, version "))

    def test_the_schema_is_json(self) -> None:
        """On stdout, for a file or a pipe."""
        schema = json.loads(self.run_command("config", "schema").stdout)
        self.assertIn("gateway", schema["properties"])

    def test_a_starter_is_written_once(self) -> None:
        """It loads, and what is there is never overwritten."""
        path = str(self.folder / "mine.toml")
        result = self.run_command("init", path)
        self.assertEqual(result.exit_code, 0)
        self.assertIn(f"lmgateway serve --config {path}", result.output)
        self.assertEqual(self.run_command("check", "--config", path).exit_code, 0)
        Path(path).write_text("mine")
        again = self.run_command("init", path)
        self.assertEqual(again.exit_code, 1)
        self.assertIn("exists already", again.output)
        self.assertEqual(Path(path).read_text(), "mine")

    def test_a_starter_needs_a_folder(self) -> None:
        """Otherwise it says why not."""
        result = self.run_command("init", str(self.folder / "no" / "config.toml"))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("cannot be written: No such file or directory", result.output)

    def test_the_starter_is_the_config_that_we_ship(self) -> None:
        """One text, in two places."""
        self.assertEqual(STARTER, (ROOT / "etc" / "config.toml").read_text())


class ProcessTests(FolderTestCase):
    """The script as a process."""

    def test_the_package_can_be_run(self) -> None:
        """With the same exit status; and what serves nothing does not load the reactor."""
        code = (
            "import sys; from lmgateway.commands.cli import main\n"
            "try: main(['healthcheck', '--config', sys.argv[1]])\n"
            "except SystemExit as end: print('reactor' , 'twisted.internet.reactor' in sys.modules)"
        )
        source = str(self.write("config.toml", BASE))
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, source]
        found = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
        self.assertTrue(found.stdout.endswith("reactor False\n"), found)
        module = [sys.executable, "-m", "lmgateway", "check", "--config", source + "x"]
        self.assertEqual(
            subprocess.run(module, capture_output=True, env=environ, check=False).returncode,
            EX_CONFIG,
        )
