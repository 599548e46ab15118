// Live traffic: the newest exchanges, filtered here as they come and by the server for the past.

import { ask, query } from "./api.js";
import { fill, h, line, table, toast } from "./dom.js";
import { count } from "./format.js";
import { mark } from "./live.js";
import { COLUMNS, inspect } from "./rows.js";

const SHOWN = 150;
const NAMES = { client: "Client", model: "Model", tier: "Tier", status: "Status", min_latency_ms: "At least (ms)", error: "Text of the error" };

/** #traffic, and #traffic/ID for one of them. */
export async function traffic(box, page, [id]) {
  const list = h("div");
  const note = h("span.small.soft", { role: "status" });
  const filters = {};
  let paused = false;
  let older = null;
  let held = new Set();

  const pause = h("button", { "aria-pressed": "false", onclick: () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) load();
  } }, "Pause");
  const more = h("button.quiet", { onclick: () => load(older) }, "Older");
  const field = ([name, label]) => h("label.field", label, h("input", {
    name, autocomplete: "off", inputmode: name.startsWith("min") || name === "status" ? "numeric" : "text",
    oninput: (event) => { filters[name] = event.target.value.trim(); later(); },
  }));

  fill(box,
    h("header", h("h1", "Traffic"), note, h("span.grow"), pause),
    h("form.panel.filters", { onsubmit: (event) => event.preventDefault() }, Object.entries(NAMES).map(field)),
    h("section.panel.flush", list, h("div.row", more)));

  let timer;
  const later = () => { clearTimeout(timer); timer = setTimeout(load, 200); };
  const open = (entry) => show(entry.id);
  const show = (wanted) => inspect(page, wanted).catch((error) => toast(error.message, true));

  async function load(cursor) {
    const answer = await ask(`admin/traffic${query({ limit: SHOWN, ...whole(filters), cursor })}`).catch((error) => ({ error }));
    if (answer.error) { fill(note, h("span.bad", answer.error.message)); return; }
    older = answer.next_cursor ?? null;
    held = new Set(answer.entries.map(mark));
    more.hidden = !older;
    fill(list, table(COLUMNS, answer.entries, { open, empty: "No exchange matches. Send one, or loosen the filters." }));
    fill(note, cursor ? "older entries; Pause is on" : "");
    if (cursor && !paused) pause.click();
  }

  page.watch((fresh, _, missed) => {
    if (paused) return;
    if (missed) { load(); return; }
    const wanted = fresh.filter((entry) => fits(entry, whole(filters)) && !held.has(mark(entry)));
    if (fresh.length) held = new Set();
    const body = list.querySelector("tbody");
    if (!body) { if (wanted.length) load(); return; }
    const shown = wanted.slice(0, SHOWN);
    body.prepend(...shown.map((entry) => {
      const row = line(COLUMNS, entry, open);
      if (shown.length < 20) row.classList.add("fresh");
      return row;
    }));
    while (body.rows.length > SHOWN) body.deleteRow(-1);
    fill(note, page.live.rate > 40 ? `${count(page.live.rate * 60)} a minute: the newest ${SHOWN} are shown` : "");
  });

  await load();
  if (id) await show(id);
}

function fits(entry, filters) {
  const failed = entry.success ? "" : `${entry.error ?? ""} ${entry.outcome} ${entry.outcome.replaceAll("_", " ")}`;
  return (!filters.client || (entry.client || "-") === filters.client)
    && (!filters.model || [entry.requested_model, entry.model, ...entry.attempts.map((one) => one.model)].includes(filters.model))
    && (!filters.tier || [entry, ...entry.attempts].some((one) => one.tier === filters.tier))
    && (!filters.status || String(entry.status).startsWith(filters.status.replaceAll("x", "")))
    && (!filters.min_latency_ms || entry.latency_ms >= Number(filters.min_latency_ms))
    && (!filters.error || failed.toLowerCase().includes(filters.error.toLowerCase()));
}

/** The filters as the server takes them, without what is not typed to its end yet. */
function whole(filters) {
  const status = (filters.status ?? "").toLowerCase();
  const least = filters.min_latency_ms;
  return {
    ...filters,
    status: /^[1-5]([0-9]{2}|xx)$/.test(status) ? status : "",
    min_latency_ms: Number(least) >= 0 ? least : "",
  };
}
