// The page: which view is shown, who looks at it, and what is alive.

import { ask, session } from "./api.js";
import { fill, h, toast } from "./dom.js";
import { count, percent } from "./format.js";
import { Live } from "./live.js";
import { audit } from "./audit.js";
import { overview } from "./overview.js";
import { traffic } from "./traffic.js";
import { backends } from "./backends.js";
import { clients } from "./clients.js";
import { quality } from "./quality.js";
import { spend } from "./spend.js";
import { config } from "./config.js";

const VIEWS = { overview, traffic, backends, quality, clients, spend, config, audit };
const RANKS = ["viewer", "operator", "admin"];

const main = document.getElementById("main");
const drawer = document.getElementById("drawer");
const live = new Live();
let leave = [];

/** What every view is given. */
const page = {
  live,
  role: "viewer",
  may: (role) => RANKS.indexOf(page.role) >= RANKS.indexOf(role),
  /** Runs *act* on every tick of *seconds*, while the view is shown. */
  every(seconds, act) {
    const run = () => { if (!document.hidden) act().catch((error) => console.warn(error.message)); };
    const timer = setInterval(run, seconds * 1000);
    leave.push(() => clearInterval(timer));
  },
  watch: (listener) => leave.push(live.subscribe(listener)),
  open(...content) {
    page.back = document.activeElement;
    fill(drawer, ...content).hidden = false;
    drawer.focus();
  },
  close() {
    if (drawer.hidden) return;
    drawer.hidden = true;
    fill(drawer);
    page.back?.focus?.();
  },
  /** Does what an operator asked for, and says how it went. */
  async act(what, path, { method = "POST", body, sure } = {}) {
    if (sure && !confirm(sure)) return null;
    page.acted = Infinity;
    try {
      const answer = await ask(path, { method, body });
      toast(`${what}: done.`);
      return answer ?? {};
    } catch (error) {
      const problems = error.problems ?? [];
      toast(problems.length ? [`${what}:`, ...problems].join("\n") : `${what}: ${error.message}`, true);
      return null;
    } finally {
      page.acted = performance.now();
    }
  },
};

async function show() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const view = VIEWS[name] ? name : "overview";
  for (const end of leave.splice(0)) end();
  page.close();
  document.title = `${view} · lmgateway`;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const box = h(`section.view.${view}`);
  fill(main, box);
  try {
    await VIEWS[view](box, page, rest.map(decoded));
  } catch (error) {
    fill(box, h("p.empty.bad", error.message));
  }
}

/** A part of the address; as it is where it was not escaped well. */
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

function pulse() {
  const pill = document.getElementById("pulse");
  pill.className = `pill ${live.connected ? "good" : "bad"}`;
  pill.textContent = live.connected ? `live · ${live.rate >= 10 ? count(live.rate) : live.rate.toFixed(1)}/s` : "offline";
}

function theme(wanted) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = wanted ?? localStorage.getItem("theme") ?? (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now;
  return now;
}

function flip() {
  const next = theme() === "dark" ? "light" : "dark";
  localStorage.setItem("theme", next);
  theme(next);
}

function keys(event) {
  if (event.key === "Escape") page.close();
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const index = Number(event.key) - 1;
  if (event.key === "t") flip();
  else if (event.key === "/") { document.querySelector(".filters input")?.focus(); event.preventDefault(); }
  else if (Object.keys(VIEWS)[index]) location.hash = Object.keys(VIEWS)[index];
}

async function start() {
  theme();
  document.getElementById("theme").addEventListener("click", flip);
  fill(document.getElementById("nav"), Object.keys(VIEWS).map((name, index) =>
    h("a", { href: `#${name}`, title: `${index + 1}` }, name[0].toUpperCase() + name.slice(1))));
  const who = await session();
  page.role = who.role;
  fill(document.getElementById("who"), h("span.small", `${who.name} · ${who.role}`),
    who.via === "session" && h("button.quiet", { onclick: logout }, "Log out"));
  live.start();
  live.subscribe(pulse);
  live.subscribe((_, others) => others.forEach(told));
  addEventListener("hashchange", show);
  addEventListener("keydown", keys);
  await show();
}

/** Says what else happened, where an operator would want to know at once. */
function told(event) {
  const mine = performance.now() - (page.acted ?? -Infinity) < 2000;  // who did it was told already
  if (event.kind === "reload" && !mine) toast(event.ok ? "The configuration was reloaded." : `Reload failed: ${event.error}`, !event.ok);
  if (event.kind === "breaker" && !mine) toast(`${event.backend}: breaker ${event.from} → ${event.to}`, event.to === "open");
  if (event.kind === "budget") toast(`Budget ${event.budget}${event.owner ? ` of ${event.owner}` : ""}: ${event.what === "exceeded" ? "spent" : `${percent(event.threshold, 0)} spent`}.`, true);
  if (event.kind === "alarm") toast(`${event.ip} is guessing at tokens of this port.`, true);
  if (event.kind === "secret" && event.state === "stale") toast(`A secret cannot be read anew: ${event.text}`, true);
}

async function logout() {
  await ask("logout", { method: "POST" }).catch(() => null);
  location.assign("login");
}

start().catch((error) => fill(main, h("p.empty.bad", error.message)));
