"""The dashboard as a person meets it: a real browser in front of a served gateway."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.task import deferLater

from lmgateway.admin import feed
from tests.browser import Browser, missing
from tests.fakes import completion, status
from tests.governance.test_accounts import ANN, KEY, PRICED
from tests.harness import GatewayCase

reactor: Any = the_reactor

TOKENS = """
    [[admin_tokens]]
    name = "boss"
    role = "admin"
    token_env = "BOSS"

    [[admin_tokens]]
    name = "looker"
    role = "viewer"
    token_env = "LOOKER"
"""


class DashboardTests(GatewayCase):
    """One browser per test; pictures of it are kept in build/screenshots."""

    timeout = 180
    skip = missing()

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        """Serve, and open a window."""
        super().setUp()
        self.environ |= {"BOSS": "boss-token-1", "LOOKER": "looker-token-1"}
        self.start(more=TOKENS)
        self.browser = Browser()
        await self.browser.start()
        self.url = f"http://127.0.0.1:{self.admin_port}/"

    async def tearDown(self) -> None:  # type: ignore[override]  # trial awaits it
        """Close the window; nothing of the page may have been refused by its own policy."""
        try:
            complaints = await self.browser.console()
            self.assertEqual([one for one in complaints if "Content Security" in one], [])
        finally:
            await self.browser.stop()
            await super().tearDown()

    async def log_in(self, token: str) -> None:
        """Log in by the page, as a person would."""
        await self.browser.go(self.url)
        await self.browser.until("document.querySelector('#token')")
        await self.browser.type("#token", token)
        await self.browser.click("button")
        await self.browser.until("document.querySelector('#pulse')?.textContent.includes('live')")

    async def see(self, view: str) -> None:
        """Go to a view by its link."""
        await self.browser.click(f'#nav a[href="#{view}"]')
        await self.browser.until("document.title.startsWith(arguments[0])", view)

    async def test_login_and_live_row(self) -> None:
        """After logging in, a request shows within a second, and its decision on a click."""
        await self.browser.go(self.url)
        await self.browser.type("#token", "wrong")
        await self.browser.click("button")
        self.assertIn("not valid", await self.browser.text("[role=alert]"))
        await self.log_in("boss-token-1")
        await self.see("traffic")
        await self.browser.until("document.querySelector('.empty')")
        got = await self.chat("cloud:economy")
        began = reactor.seconds()
        await self.browser.until("document.querySelector('tbody tr')")
        self.assertLess(reactor.seconds() - began, 5, "a second and the slowness of a busy machine")
        self.assertIn("cloud:economy", await self.browser.text("tbody tr"))
        await self.browser.shoot("traffic")
        await self.browser.click("tbody tr")
        drawer = await self.browser.text("#drawer .fall")
        self.assertIn("cloud:economy", drawer)
        whole = await self.browser.text("#drawer")
        self.assertIn("Why this tier", whole)
        self.assertIn(got.headers["x-request-id"], whole)
        await self.browser.shoot("waterfall")

    async def test_one_request_on_a_phone(self) -> None:
        """What is wide is wrapped, and can be closed; a request that is gone hides no other."""
        self.backend.script = status(500)
        await self.chat("cloud:economy", X_Request_ID="r" * 128)
        await self.log_in("looker-token-1")
        await self.browser.resize(390, 844)
        await self.see("traffic")
        await self.browser.click("tbody tr")
        await self.browser.until("document.querySelector('#drawer')?.innerText.includes('rrr')")
        await self.browser.shoot("waterfall-phone")
        wide = "const d = document.querySelector('#drawer'); return d.scrollWidth - d.clientWidth"
        self.assertEqual(await self.browser.run(wide), 0)
        await self.browser.click("#drawer header button")
        await self.browser.until("document.querySelector('#drawer').hidden")
        await self.browser.go(f"{self.url}#traffic/gone")
        await self.browser.until("document.querySelector('#toasts').innerText.includes('pushed')")
        self.assertIn("cloud:economy", await self.browser.text("tbody tr"))

    async def test_L7_2_L7_4_what_is_shown_is_what_the_port_tells(self) -> None:
        """Health and money are those of ``/admin/backends`` and ``/admin/usage``."""
        self.backend.script = status(500)
        for _ in range(2):
            await self.chat("cloud:economy")
        key = {"Authorization": "Bearer looker-token-1"}
        told = (await self.ask("GET", "/admin/backends", admin=True, **key)).json["backends"][0]
        spent = (await self.ask("GET", "/admin/usage?by=tier", admin=True, **key)).json
        await self.log_in("looker-token-1")
        await self.see("backends")
        card = await self.browser.text(".grid .panel")
        self.assertIn(f"of the last {told['samples']}", card)
        for target in told["targets"]:
            self.assertIn(target["model"], card)
            self.assertIn(f"{target['errors']} / {target['samples']}", card)
        await self.see("spend")
        await self.browser.until("document.querySelector('.tile .value')")
        tiles = await self.browser.run("return document.querySelector('.tiles').innerText")
        self.assertIn(f"Requests\n{spent['totals']['requests']}", tiles)

    async def test_money_of_a_client(self) -> None:
        """A client's card tells what a minute may cost, what was spent, and what that saved."""
        more = ANN + "rate_limit_usd_per_minute = 0.5" + dedent(TOKENS)
        self.environ["ANN"] = "key-of-ann"
        self.write(PRICED, gateway='baseline = "paid"', more=more)
        assert self.service is not None
        self.service.reload()
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer
        await self.chat("dear", **KEY)
        await self.log_in("looker-token-1")
        await self.see("clients")
        card = await self.browser.text(".grid .panel")
        for told in ("of $0.500 a minute", "spent $0.010", "saved $0.050"):
            self.assertIn(told, card)

    async def test_L7_5_L7_6_graphs_and_pause(self) -> None:
        """Graphs are drawn in place; what is paused holds still, and goes on with all of it."""
        await self.chat("local:fast")
        await self.log_in("looker-token-1")
        await self.browser.until("document.querySelectorAll('svg.chart').length == 4")
        self.assertIn(
            "Requests",
            await self.browser.run(
                "return document.querySelector('svg.chart').getAttribute('aria-label')"
            ),
        )
        await self.see("traffic")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 1")
        await self.browser.click("header button[aria-pressed]")
        await self.chat("cloud:economy")
        await deferLater(reactor, 1)
        self.assertEqual(
            await self.browser.run("return document.querySelectorAll('tbody tr').length"), 1
        )
        await self.browser.click("header button[aria-pressed]")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 2")

    async def test_filter(self) -> None:
        """The rows are those of the filter, of what was and of what comes."""
        await self.log_in("looker-token-1")
        await self.see("traffic")
        await self.chat("cloud:economy")
        await self.chat("local:fast")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 2")
        await self.browser.type("input[name=tier]", "local:fast")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 1")
        self.assertIn("local:fast", await self.browser.text("tbody tr"))
        await self.chat("cloud:economy")
        await self.chat("local:fast")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 2")
        self.assertNotIn("cloud:economy", await self.browser.text("tbody"))

    async def test_operator_action_and_roles(self) -> None:
        """An admin may reload and drain; a viewer finds no such button, and is refused without."""
        await self.log_in("boss-token-1")
        await self.see("config")
        await self.browser.click("header button.main")
        await self.browser.accept()
        await self.browser.until("document.querySelector('#toasts').innerText.includes('done')")
        await self.see("backends")
        await self.browser.until(
            "[...document.querySelectorAll('button')].find(b => b.textContent == 'Drain')"
        )
        await self.browser.shoot("backends")
        await self.browser.run(
            "[...document.querySelectorAll('button')].find(b => b.textContent == 'Drain').click()"
        )
        await self.browser.accept()
        await self.browser.until("document.querySelector('.grid').innerText.includes('drained')")
        self.assertEqual((await self.chat("hint:fast")).code, 503)
        await self.browser.click("#who button")
        await self.browser.until("document.querySelector('#token')")
        await self.log_in("looker-token-1")
        await self.see("backends")
        await self.browser.until("document.querySelector('.grid .panel')")
        self.assertFalse(await self.browser.run("return !!document.querySelector('.buttons')"))
        refused = await self.browser.run(
            "return fetch('admin/reload', {method: 'POST'}).then(answer => answer.status)"
        )
        self.assertEqual(refused, 403)

    async def test_lost_and_back(self) -> None:
        """Also after an answer that is no stream the page comes back, and lacks nothing."""
        await self.log_in("boss-token-1")
        await self.see("traffic")
        await self.chat("local:fast")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 1")
        self.patch(feed, "MAX_LISTENERS", 0)
        assert self.service is not None
        self.service.resources.feed.close()
        await self.browser.until("document.querySelector('#pulse').innerText == 'offline'")
        await deferLater(reactor, 2)  # the browser has tried by itself, and has given up
        await self.chat("cloud:economy")
        self.patch(feed, "MAX_LISTENERS", 32)
        await self.browser.until("document.querySelector('#pulse').innerText.includes('live')")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 2")
        await self.browser.console()

    async def test_focus_is_kept(self) -> None:
        """Who goes by keyboard stays where they are while the page shows newer figures."""
        await self.log_in("boss-token-1")
        await self.see("backends")
        find = "[...document.querySelectorAll('button')].find(b => b.innerText == 'Drain')"
        await self.browser.until(find)
        await self.browser.run(f"window.before = {find}; window.before.focus()")
        await self.browser.until("!window.before.isConnected")
        self.assertEqual(await self.browser.run("return document.activeElement.innerText"), "Drain")

    async def test_failures_are_found(self) -> None:
        """A filter finds what was tried in vain too; one that is half typed is no mistake."""
        self.backend.script = status(500)
        await self.log_in("looker-token-1")
        await self.see("traffic")
        await self.chat("cloud:economy")
        await self.browser.type("input[name=tier]", "cloud:economy")
        await self.browser.type("input[name=status]", "5")
        await deferLater(reactor, 1)
        self.assertIn("backend failed", await self.browser.text("tbody tr"))
        await self.chat("cloud:economy")
        await self.browser.until("document.querySelectorAll('tbody tr').length == 2")
        self.assertFalse(await self.browser.run("return !!document.querySelector('.view > .bad')"))

    async def test_every_view_on_a_phone(self) -> None:
        """No view is wider than a phone, and all of them show without a complaint."""
        await self.chat("local:fast")
        await self.log_in("boss-token-1")
        for width, kind in ((1360, "wide"), (390, "phone")):
            await self.browser.resize(width, 844)
            for view in (
                "overview",
                "traffic",
                "backends",
                "quality",
                "clients",
                "spend",
                "config",
                "audit",
            ):
                await self.browser.run("location.hash = arguments[0]", view)
                await self.browser.until("document.title.startsWith(arguments[0])", view)
                await deferLater(reactor, 0.5)
                await self.browser.shoot(f"{kind}-{view}")
                wide = await self.browser.run("return document.documentElement.scrollWidth")
                self.assertLessEqual(wide, width, view)
                self.assertFalse(
                    await self.browser.run("return !!document.querySelector('.view > .bad')"), view
                )
        complaints = await self.browser.console()
        self.assertEqual(complaints, [])
