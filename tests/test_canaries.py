"""
No secret and no prompt gets out, whatever goes wrong.

A real process with a unique fake secret in every slot meets a backend that repeats all that it
is shown, servers that fail, bad configs and wrong keys; then every answer, every line that it
logged and every file that it wrote is searched.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from treq import collect
from twisted.web.client import ResponseFailed

from tests.canaries import (
    BACKENDS,
    CONFIG,
    FILES,
    MOODS,
    OUT_OF_REACH,
    TIER,
    VARIABLES,
    Hostile,
    Running,
    make,
)
from tests.fakes import FakeBackend, until
from tests.harness import GatewayCase, free_port
from tests.stores.keepers import FakeInfisical, FakeVault


class CanaryTests(GatewayCase):
    """The search."""

    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        """Start everything."""
        super().setUp()
        self.canary = make()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.client_port, self.admin_port = free_port(), free_port()
        self.hostile = Hostile(self.canary)
        self.backend = FakeBackend(self.hostile)
        self.url_of_backend = self.backend.listen()
        self.vault, self.infisical = FakeVault(), FakeInfisical()
        self.addCleanup(self.vault.close)
        self.addCleanup(self.infisical.close)
        self.vault.tokens = {self.canary["vault-token"]}
        self.vault.secrets["llm"] = {"key": self.canary["key-in-vault"]}
        self.infisical.credential = self.canary["infisical-secret"]
        self.infisical.secrets["p", "prod", "/", "KEY"] = self.canary["key-in-infisical"]
        self.seen: list[tuple[str, str]] = []
        self.write_files()
        environ = {name: self.canary[slot] for name, slot in VARIABLES.items()}
        self.running = Running.start(self.folder, environ)
        self.addCleanup(self.running.kill)
        await until_served(self)

    def write_files(self, more: str = "") -> None:
        """Write the config, and the files that it names."""
        for name in FILES:
            (self.folder / name).write_text(self.canary[name] + "\n")
            (self.folder / name).chmod(0o600)
        secret = self.canary["key-of-command"]
        text = CONFIG.format(
            client=self.client_port,
            admin=self.admin_port,
            backend=self.url_of_backend,
            tls=self.url_of_backend.replace("http:", "https:"),
            vault=self.vault.url,
            infisical=self.infisical.url,
            python=sys.executable,
            command=f"print('{secret}')",
            tiers="".join(TIER.format(name) for name in BACKENDS),
            canary=self.canary,
        )
        (self.folder / "config.toml").write_text(text + more)

    async def note(self, what: str, method: str, path: str, body: Any = None, **how: Any) -> int:
        """Ask, and keep the whole answer to be searched."""
        response = await self.begin(method, path, body, **how)
        parts: list[bytes] = []
        with contextlib.suppress(ResponseFailed):  # a stream that was cut is an answer too
            await collect(response, parts.append)
        headers = [*response.headers.getAllRawHeaders()]
        self.seen.append((what, f"{headers} {b''.join(parts).decode('latin-1')}"))
        return int(response.code)

    def key(self, slot: str) -> dict[str, Any]:
        """Give the header that shows a key."""
        return {"Authorization": f"Bearer {self.canary[slot]}"}

    async def test_G10_no_canary_gets_out(self) -> None:
        """Not in answers, logs, records, metrics, pages or files, nor on the command line."""
        await self.talk()
        await self.do_wrong()
        await self.look_round()
        await self.reload_badly()
        await self.look_round()
        self.seen.append(("command line", self.running.command_line()))
        self.assertEqual(self.running.stop(), 0, (self.folder / "err").read_text()[-2000:])
        self.seen += self.running.written()
        self.assert_all_was_used()
        found = {
            (slot, where)
            for where, text in self.seen
            for slot, canary in self.canary.items()
            if canary in text and not (slot == "prompt" and where.startswith("rejected"))
        }
        self.assertEqual(found, set())  # but who asked may be told what of it was wrong

    async def talk(self) -> None:
        """Have every backend fail in every way, streamed and not, on every surface."""
        ann, prompt = self.key("key-of-ann"), self.canary["prompt"]
        messages = [{"role": "user", "content": prompt}]
        for mood in MOODS:
            self.hostile.wanted = mood
            tiers = BACKENDS if mood == "ok" else [b for b in BACKENDS if b not in OUT_OF_REACH]
            for tier in tiers[:1] if mood == "silent" else tiers:
                for stream in (False, True):
                    body: dict[str, Any] = {"model": tier, "messages": messages, "stream": stream}
                    more = {"max_tokens": 9, "user": prompt}
                    what = f"{mood} {tier} {stream}"
                    await self.note(what, "POST", "/v1/chat/completions", body | more, **ann)
            body = {"model": "file", "messages": messages, "max_tokens": 9}
            await self.note(mood, "POST", "/v1/messages", body, **ann)
            await self.note(mood, "POST", "/api/chat", body, **ann)
            body = {"model": "sorted", "messages": messages}
            await self.note(mood, "POST", "/v1/chat/completions", body, **ann)
        self.hostile.wanted = "ok"

    async def do_wrong(self) -> None:
        """Be a client that errs, and one that lies."""
        ann, wrong = self.key("key-of-ann"), self.key("wrong-key")
        prompt = self.canary["prompt"]
        chat = {"model": "file", "messages": [{"role": "user", "content": prompt}]}
        path = "/v1/chat/completions"
        await self.note("wrong key", "POST", path, chat, **wrong)
        await self.note("no key", "POST", path, chat)
        await self.note("wrong scheme", "POST", path, chat, Authorization=f"Basic {prompt}")
        for _ in range(3):
            await self.note("limited", "POST", path, chat, **self.key("key-of-bob"))
        for raw in (b'{"model": "%b"', b'{"messages": "%b", "model": 1}', b'["%b"]'):
            await self.note("malformed", "POST", path, raw % prompt.encode(), **ann)
        for body in (chat | {"model": "unknown"}, chat | {"api_key": prompt}, {"model": "file"}):
            await self.note("refused", "POST", path, body, **ann)
        explain = {"X-LMG-Explain": "true"}
        await self.note("explained", "POST", path, chat, **ann, **explain)
        await self.note("explain", "POST", "/v1/route/explain", chat, **ann)
        for path in ("/v1/models", "/v1/me", "/status", "/readyz", "/nothing"):
            await self.note(path, "GET", path, **ann)

    async def look_round(self) -> None:
        """Ask the admin port for all that it shows, by whoever may and may not."""
        admin = self.key("admin-token")
        document = (await self.ask("GET", "/openapi.json", admin=True, **admin)).json
        asked = 0
        for path, methods in document["paths"].items():
            if "get" not in methods or "{" in path or path == "/admin/events":
                continue
            asked += 1
            for who in (admin, self.key("viewer-token"), {}):
                await self.note(f"admin {path}", "GET", path, admin=True, **who)
        wrong = self.key("wrong-key")  # a few times only: a guesser is locked out
        await self.note("admin wrong", "GET", "/admin/health", admin=True, **wrong)
        self.assertGreater(asked, 10)

    async def reload_badly(self) -> None:
        """Bad configs, with a key pasted in the wrong places; secrets that go, or do not come."""
        admin, pasted = self.key("admin-token"), self.canary["pasted-key"]
        for more in (
            f'[backends.bad]\nbase_url = "http://{pasted}@127.0.0.1:1"\n',
            f'[backends.bad]\napi_key = "{pasted}"\n',
            f'[backends.bad]\nbase_url = "http://127.0.0.1:1"\ntimeout_ms = "{pasted}"\n',
            f'[[clients]]\nprofile = "default"\nkey_sha256 = "{pasted}"\n',
            f'[[clients]]\nprofile = "default"\nkey_secret = "{pasted}"\n',
            f'[broken\nkey = "{pasted}"\n',
        ):
            self.write_files(more)
            code = await self.note("reload", "POST", "/admin/reload", admin=True, **admin)
            self.assertEqual(code, 422)
        self.vault.script = lambda asked: (403, {"errors": [str(asked.headers)]})
        self.infisical.tokens.clear()
        self.infisical.credential = "another"
        self.write_files()
        (self.folder / "key-in-file").unlink()
        code = await self.note("reload", "POST", "/admin/reload", admin=True, **admin)
        self.assertEqual(code, 200, self.seen[-1])
        made = await self.ask(
            "POST", "/admin/keys", {"name": "carl", "profile": "default"}, admin=True, **admin
        )
        self.assertIn(made.code, (200, 201), made.body)
        self.canary["issued-key"] = made.json["key"]
        await self.note("issued", "GET", "/v1/models", **self.key("issued-key"))

    def assert_all_was_used(self) -> None:
        """A canary that was never shown to anybody would prove nothing."""
        shown = " ".join(self.hostile.shown)
        for slot in (
            "key-in-file", "key-in-vault", "key-in-infisical", "key-of-command", "key-in-env",
            "fixed-header",
            "key-of-bobs-own",
        ):  # fmt: skip
            self.assertIn(self.canary[slot], shown, slot)
        for slot in ("key-of-ann", "key-of-bob", "admin-token"):
            self.assertNotIn(self.canary[slot], shown, slot)
        everything = json.dumps([asked.headers for asked in self.backend.asked])
        for slot in ("otel-auth", "export-auth", "otel-header", "export-header"):
            self.assertIn(self.canary[slot], everything, slot)
        hooks = [asked.path for asked in self.backend.asked if asked.path.startswith("/hook/")]
        self.assertTrue(hooks)
        self.assertIn(self.canary["prompt"], str(self.backend.asked[0].raw))


async def until_served(case: CanaryTests) -> None:
    """Wait until the process answers."""
    served: list[int] = []

    async def look() -> None:
        try:
            served.append((await case.ask("GET", "/healthz")).code)
        except OSError:
            return
        except Exception as error:
            if "Connect" not in type(error).__name__:
                raise

    for _ in range(600):
        await look()
        if served:
            return
        if case.running.process.poll() is not None:
            break
        await until(lambda: True)
        await _pause()
    raise AssertionError((case.folder / "err").read_text()[-3000:])


async def _pause() -> None:
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0.05)
