// The first view: how it goes now, what is wrong, and what to do about it.

import { ask, askOr } from "./api.js";
import { chart, spark } from "./charts.js";
import { fill, h, line, pill, table, toast } from "./dom.js";
import { compact, count, ms, percent, usd } from "./format.js";
import { mark } from "./live.js";
import { COLUMNS, inspect } from "./rows.js";
import { backendState } from "./backends.js";

const ROWS = 12;
const HOUR = 60;
const SAID = 3;

export async function overview(box, page) {
  const [tiles, banner, graphs, strip, list] = [h("div.tiles"), h("div"), h("div.halves"), h("div"), h("div")];
  fill(box, banner, tiles, graphs,
    h("section.panel", h("header", h("h2", "Backends"), h("span.grow"), h("a", { href: "#backends" }, "All")), strip),
    h("section.panel.flush", h("header", h("h2", "Latest"), h("span.grow"), h("a", { href: "#traffic" }, "All traffic")), list));

  const open = (entry) => inspect(page, entry.id).catch((error) => toast(error.message, true));
  const [health, setup, recent] = await Promise.all([
    ask("admin/health"), ask("admin/setup"), ask(`admin/traffic?limit=${ROWS}`)]);
  let held;
  const latest = ({ entries }) => {
    page.live.seed(entries);
    held = new Set(entries.map(mark));
    fill(list, table(COLUMNS, entries, { open, empty: "Nothing was asked yet. Point a client at the client port, and it shows here at once." }));
  };
  fill(banner, hints(health.ready, setup.hints));
  latest(recent);

  page.watch((all, _, missed) => {
    if (missed) { ask(`admin/traffic?limit=${ROWS}`).then(latest).catch(() => null); return; }
    const fresh = all.filter((entry) => !held.has(mark(entry)));
    if (!fresh.length) return;
    const body = list.querySelector("tbody");
    if (!body) { fill(list, table(COLUMNS, page.live.entries.slice(0, ROWS), { open })); return; }
    body.prepend(...fresh.slice(0, ROWS).map((entry) => {
      const row = line(COLUMNS, entry, open);
      row.classList.add("fresh");
      return row;
    }));
    while (body.rows.length > ROWS) body.deleteRow(-1);
  });

  async function refresh() {
    const [series, backends] = await Promise.all([askOr("admin/series?minutes=180", null), askOr("admin/backends", null)]);
    if (series) {
      fill(tiles, summary(series.points));
      fill(graphs, graphsOf(series.points));
    }
    if (backends) fill(strip, backends.backends.length ? h("div.row", backends.backends.map(chip)) : h("p.soft", "No backend is configured."));
  }
  await refresh();
  page.every(5, refresh);
}

const chip = (backend) => {
  const [word, kind] = backendState(backend);
  return h("a.button", { href: "#backends" }, h("span.row", pill(backend.backend, kind), h("span.small.soft", word)));
};

const SHADES = { error: "bad", warning: "warn", info: "soft" };

function hints(ready, all) {
  if (ready && !all.length) return null;
  const calm = ready && all.every((hint) => hint.level === "info");
  const todos = [...new Set(all.map((hint) => hint.todo))].map((todo) => all.filter((hint) => hint.todo === todo));
  return h("section.panel.notice", { class: calm ? "calm" : "" },
    h("h2", ready ? "Worth a look" : "Not ready to serve"),
    h("ul", todos.map((alike) => h("li",
      said(alike.slice(0, SAID)), h("div.small.soft", alike[0].todo),
      alike.length > SAID && h("details", h("summary.small", `${alike.length - SAID} more like these`), said(alike.slice(SAID)))))));
}

const said = (all) => all.map((hint) => h("div", { class: SHADES[hint.level] }, hint.text));

function summary(points) {
  const hour = points.slice(-HOUR);
  const sum = (name) => hour.reduce((all, point) => all + (point[name] ?? 0), 0);
  const last = points[points.length - 1] ?? {};
  const before = points[points.length - 2] ?? last;
  const requests = sum("requests");
  const share = requests ? sum("errors") / requests : 0;
  const line = (of) => hour.map(of);
  const saved = sum("saved_usd");
  return [
    tile("Requests, last minute", compact(Math.max(last.requests ?? 0, before.requests ?? 0)), `${count(requests)} in the hour`, spark(line((p) => p.requests))),
    tile("Errors", percent(share), `${count(sum("errors"))} in the hour`, spark(line((p) => p.errors), "bad"), share > 0.05 ? "bad" : share > 0.01 ? "warn" : ""),
    tile("Latency, median", ms(latest(hour, "p50_ms")), `p95 ${ms(latest(hour, "p95_ms"))}`, spark(line((p) => p.p50_ms), "cool")),
    tile("Tokens", compact(sum("input_tokens") + sum("output_tokens")), `${compact(sum("output_tokens"))} written`, spark(line((p) => (p.input_tokens ?? 0) + (p.output_tokens ?? 0)), "violet")),
    tile("Spent", usd(sum("cost_usd")), "in the hour", spark(line((p) => p.cost_usd), "warn")),
    tile("Saved", usd(saved), saved < 0 ? "dearer than the baseline" : "against the baseline", spark(line((p) => Math.max(0, p.saved_usd ?? 0)), "good"), saved < 0 ? "bad" : saved > 0 ? "good" : ""),
  ];
}

const latest = (points, name) => [...points].reverse().find((point) => point[name] !== null && point[name] !== undefined)?.[name];

const tile = (name, value, more, drawn, kind = "") =>
  h("section.panel.tile", h("span.name", name), h("span.value", { class: kind }, value), h("span.more", more), drawn);

function graphsOf(points) {
  const seconds = (value) => ms(value);
  return [
    chart("Requests and errors a minute", points, [
      { name: "requests", colour: "accent", of: (p) => p.requests, area: true },
      { name: "errors", colour: "bad", of: (p) => p.errors },
    ], compact),
    chart("Latency", points, [
      { name: "p95", colour: "warn", of: (p) => p.p95_ms },
      { name: "median", colour: "cool", of: (p) => p.p50_ms, area: true },
    ], seconds),
    chart("Tokens a minute", points, [
      { name: "read", colour: "violet", of: (p) => p.input_tokens, area: true },
      { name: "written", colour: "good", of: (p) => p.output_tokens },
    ], compact),
    chart("Cost and savings a minute", points, [
      { name: "spent", colour: "warn", of: (p) => p.cost_usd, area: true },
      { name: "saved", colour: "good", of: (p) => p.saved_usd },
    ], usd),
  ];
}
