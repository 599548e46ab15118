"""Tests for browsers: logging in, what a session may do, and its end."""

from __future__ import annotations

from typing import Any

from lmgateway.admin import sessions
from tests.admin.test_routes import RouteCase
from tests.harness import Got

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class LoginTests(RouteCase):
    """Tests for ``/login``, ``/logout`` and ``/admin/session``."""

    async def log_in(self, token: str, **headers: str) -> Got:
        """Send the form."""
        body = f"token={token}".encode()
        return await self.ask("POST", "/login", body, admin=True, **{**FORM, **headers})

    async def cookie(self, token: str) -> dict[str, Any]:
        """Log in, and give the header that a browser sends from then on."""
        got = await self.log_in(token)
        self.assertEqual((got.code, got.headers["location"]), (303, "./"))
        return {"Cookie": got.headers["set-cookie"].partition(";")[0]}

    async def test_a_browser_is_sent_to_log_in(self) -> None:
        """A guarded page leads to the form, which needs nothing from elsewhere and no script."""
        self.begin_with_tokens()
        got = await self.ask("GET", "/docs", admin=True)
        self.assertEqual((got.code, got.headers["location"]), (303, "login"))
        got = await self.ask("GET", "/login", admin=True)
        self.assertEqual(got.code, 200)
        policy = got.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertNotIn(b"http", got.body.replace(b"<!doctype html>", b""))

    async def test_the_cookie_is_for_this_site_and_no_script(self) -> None:
        """It cannot be read by a script, nor sent from another site."""
        self.begin_with_tokens()
        got = await self.log_in("the-viewer")
        parts = got.headers["set-cookie"].split("; ")
        self.assertEqual(parts[1:], ["Path=/", "HttpOnly", "SameSite=Strict"])
        self.assertNotIn("the-viewer", got.headers["set-cookie"])
        self.assertGreater(len(parts[0]), 40)

    async def test_a_session_has_the_role_of_its_token(self) -> None:
        """Who logged in as a viewer sees, and may do no more."""
        self.begin_with_tokens()
        cookie = await self.cookie("the-viewer")
        who = (await self.ask("GET", "/admin/session", admin=True, **cookie)).json
        self.assertEqual((who["name"], who["role"], who["via"]), ("vera", "viewer", "session"))
        headers = {**cookie, "X_CSRF_Token": who["csrf"]}
        got = await self.ask("POST", "/admin/reload", admin=True, **headers)
        self.assertEqual((got.code, got.json["kind"]), (403, "forbidden"))
        self.assertIn("'operator'", got.json["error"])

    async def test_changes_need_the_csrf_token(self) -> None:
        """The cookie alone changes nothing; with the header it does."""
        self.begin_with_tokens()
        cookie = await self.cookie("the-operator")
        for headers in (cookie, {**cookie, "X_CSRF_Token": "wrong"}):
            got = await self.ask("POST", "/admin/reload", admin=True, **headers)
            self.assertEqual(got.code, 403)
        who = (await self.ask("GET", "/admin/session", admin=True, **cookie)).json
        headers = {**cookie, "X_CSRF_Token": who["csrf"]}
        got = await self.ask("POST", "/admin/reload", admin=True, **headers)
        self.assertEqual(got.code, 200)

    async def test_logging_out(self) -> None:
        """After it the cookie is worth nothing."""
        self.begin_with_tokens()
        cookie = await self.cookie("the-viewer")
        csrf = (await self.ask("GET", "/admin/session", admin=True, **cookie)).json["csrf"]
        got = await self.ask("POST", "/logout", admin=True, X_CSRF_Token=csrf, **cookie)
        self.assertEqual(got.code, 204)
        self.assertIn("Max-Age=0", got.headers["set-cookie"])
        self.assertEqual((await self.ask("GET", "/admin/session", admin=True, **cookie)).code, 401)

    async def test_a_token_taken_away_ends_its_sessions(self) -> None:
        """After a reload a session is what its token is by then, or ends with it."""
        self.begin_with_tokens()
        cookie = await self.cookie("the-operator")
        assert self.service is not None
        self.write(more='[[admin_tokens]]\nname = "otto"\ntoken_env = "OPERATOR"')
        self.service.reload()
        who = (await self.ask("GET", "/admin/session", admin=True, **cookie)).json
        self.assertEqual(who["role"], "viewer")
        self.write(more='[[admin_tokens]]\nname = "vera"\ntoken_env = "VIEWER"')
        self.service.reload()
        self.assertEqual((await self.ask("GET", "/admin/session", admin=True, **cookie)).code, 401)

    async def test_a_wrong_token_is_told_on_the_page(self) -> None:
        """The form comes again, with what is wrong and without what was typed; it is audited."""
        self.begin_with_tokens()
        got = await self.log_in("<script>")
        self.assertEqual((got.code, got.headers["content-type"]), (401, "text/html; charset=utf-8"))
        self.assertIn(b"The token is not valid.", got.body)
        self.assertNotIn(b"script", got.body)
        ((kind, facts),) = self.told
        self.assertEqual((kind, facts["route"], facts["status"]), ("audit", "POST /login", 401))
        self.assertNotIn("script", str(facts))

    async def test_no_other_page_can_log_a_browser_in(self) -> None:
        """A form on another site is refused."""
        self.begin_with_tokens()
        for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            self.assertEqual((await self.log_in("the-viewer", **headers)).code, 403)

    async def test_without_tokens_there_is_nothing_to_log_in_to(self) -> None:
        """The form leads to the page that is open to all."""
        self.start()
        got = await self.ask("GET", "/login", admin=True)
        self.assertEqual((got.code, got.headers["location"]), (303, "./"))

    async def test_behind_a_proxy_with_tls_the_cookie_is_secure(self) -> None:
        """A proxy of ours tells that the browser speaks TLS; nobody else's word is taken."""
        self.begin_with_tokens(gateway='trusted_proxies = ["127.0.0.0/8"]')
        headers = {"X_Forwarded_For": "192.0.2.7", "X_Forwarded_Proto": "https"}
        got = await self.log_in("the-viewer", **headers)
        cookie = got.headers["set-cookie"]
        self.assertTrue(cookie.startswith("__Host-lmg_session="))
        self.assertIn("; Secure", cookie)
        headers["Cookie"] = cookie.partition(";")[0]
        self.assertEqual((await self.ask("GET", "/admin/session", admin=True, **headers)).code, 200)


class SessionsTests(RouteCase):
    """Tests for how long sessions live, and how many."""

    def test_they_end(self) -> None:
        """An idle one ends after an hour, any after twelve, and the longest idle makes room."""
        now = [0.0]
        kept = sessions.Sessions(lambda: now[0])
        name = kept.begin(b"token")
        for _ in range(12):
            now[0] += sessions.IDLE_SECONDS - 1
            self.assertIsNotNone(kept.find(name))
        now[0] = sessions.MAX_SECONDS
        self.assertIsNone(kept.find(name))
        name = kept.begin(b"token")
        now[0] += sessions.IDLE_SECONDS
        self.assertIsNone(kept.find(name))
        self.patch(sessions, "MAX_SESSIONS", 2)
        first, second = kept.begin(b"a"), kept.begin(b"b")
        kept.find(first)
        kept.begin(b"c")
        self.assertIsNotNone(kept.find(first))
        self.assertIsNone(kept.find(second))
        self.assertEqual(len(kept), 2)
