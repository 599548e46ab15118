"""Where secrets are read, and that they are not seen."""

from __future__ import annotations

import copy
import os
import pickle

from lmgateway.config.schema import SecretSource
from lmgateway.config.secrets import Secret, described, files_of, is_world_readable, resolve
from tests.config.folder import FolderTestCase

ENV = SecretSource(source="env", var="NAME")


class SecretTests(FolderTestCase):
    """What keeps a secret out of sight."""

    def test_a_secret_is_not_shown(self) -> None:
        """Not by printing, formatting or within a container."""
        secret = Secret("canary")
        for shown in (
            repr(secret),
            str(secret),
            f"{secret}",
            f"{secret:>40}",
            f"{secret!r}",
            "%s" % secret,  # noqa: UP031  # that is what is tested
            repr([secret]),
            repr({"a": secret}),
        ):
            self.assertNotIn("canary", shown)
        self.assertFalse(hasattr(secret, "__dict__"))

    def test_a_secret_is_not_carried_away(self) -> None:
        """Not by pickling or copying."""
        secret = Secret("canary")
        for carry in (pickle.dumps, copy.copy, copy.deepcopy):
            self.assertRaises(TypeError, carry, secret)

    def test_a_secret_is_revealed_on_purpose(self) -> None:
        """By the one method that says so."""
        self.assertEqual(Secret("canary").reveal(), "canary")

    def test_secrets_are_compared(self) -> None:
        """With each other, and with nothing else."""
        self.assertEqual(Secret("a"), Secret("a"))
        self.assertNotEqual(Secret("a"), Secret("b"))
        self.assertNotEqual(Secret("a"), "a")
        self.assertRaises(TypeError, hash, Secret("a"))


class ResolveTests(FolderTestCase):
    """Variables and files."""

    def resolve(self, source: SecretSource | None, **environ: str) -> str | None:
        """Give the text of a secret."""
        secret = resolve(source, environ, self.folder)
        return None if secret is None else secret.reveal()

    def file(self, name: str) -> SecretSource:
        """Give a source in a file."""
        return SecretSource(source="file", path=name)

    def test_no_source_gives_no_secret(self) -> None:
        """There is nothing to read."""
        self.assertIs(self.resolve(None), None)

    def test_a_variable_is_read(self) -> None:
        """Without line ends; an empty one is none."""
        self.assertEqual(self.resolve(ENV, NAME="x y"), "x y")
        self.assertEqual(self.resolve(ENV, NAME="x\r\n"), "x")
        self.assertIs(self.resolve(ENV, NAME=""), None)
        self.assertIs(self.resolve(ENV), None)

    def test_a_file_is_read(self) -> None:
        """Relative to the config's folder, or wherever; each time anew."""
        path = self.write("key", "first\r\n\n")
        self.assertEqual(self.resolve(self.file("key")), "first")
        self.assertEqual(self.resolve(self.file(str(path))), "first")
        self.write("key", "second")
        self.assertEqual(self.resolve(self.file("key")), "second")
        self.write("key", "")
        self.assertIs(self.resolve(self.file("key")), None)

    def test_what_cannot_be_read_is_none(self) -> None:
        """A folder, nothing, no UTF-8, a pipe, a name that is none."""
        os.mkfifo(self.folder / "pipe")
        (self.folder / "latin").write_bytes(b"\xff\xfe")
        for name in ("", ".", "missing", "pipe", "latin", "a\0b"):
            self.assertIs(self.resolve(self.file(name)), None)

    def test_what_no_header_can_carry_is_none(self) -> None:
        """It would fail at each request."""
        for text in ("two\nlines", "schlüssel", " blank", "tab\there", "\x7f"):
            self.assertIs(self.resolve(ENV, NAME=text), None)

    def test_credentials_of_systemd_are_found(self) -> None:
        """Under the variable's name, if the variable is not set."""
        self.write("creds/NAME", "from systemd\n")
        folder = str(self.folder / "creds")
        self.assertEqual(self.resolve(ENV, CREDENTIALS_DIRECTORY=folder), "from systemd")
        self.assertEqual(self.resolve(ENV, CREDENTIALS_DIRECTORY=folder, NAME="env"), "env")

    def test_a_variable_may_name_a_file(self) -> None:
        """As container images have it."""
        path = self.write("docker", "from a file")
        self.assertEqual(self.resolve(ENV, NAME_FILE=str(path)), "from a file")

    def test_the_file_of_a_secret_is_known(self) -> None:
        """If it is read from one, so that its mode can be looked at."""
        path = self.write("key", "x")
        self.assertEqual(files_of(self.file("key"), {}, self.folder), (path,))
        self.assertEqual(files_of(self.file("no"), {}, self.folder), ())
        self.assertEqual(files_of(ENV, {"NAME_FILE": str(path)}, self.folder), (path,))
        both = {"NAME_FILE": str(path), "NAME": "x"}
        self.assertEqual(files_of(ENV, both, self.folder), ())

    def test_a_file_that_all_may_read_is_told(self) -> None:
        """One that is not there is not."""
        path = self.write("key", "x")
        path.chmod(0o644)
        self.assertTrue(is_world_readable(path))
        path.chmod(0o640)
        self.assertFalse(is_world_readable(path))
        self.assertFalse(is_world_readable(self.folder / "no"))

    def test_a_source_is_described_by_its_place(self) -> None:
        """A key in the place of a name is masked."""
        self.assertEqual(described(ENV), 'the environment variable "NAME"')
        self.assertEqual(described(self.file("/run/x")), 'the file "/run/x"')
        pasted = SecretSource(source="env", var="sk_" + "a1" * 20)
        self.assertEqual(described(pasted), 'the environment variable "***"')
