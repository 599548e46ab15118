// Live traffic: the newest exchanges, filtered here as they come and by the server for the past.

import { ask, query } from "./api.js";
import { fill, h, line, table } from "./dom.js";
import { count } from "./format.js";
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
  const open = (entry) => inspect(page, entry.id).catch((error) => fill(list, h("p.empty.bad", error.message)));

  async function load(cursor) {
    const answer = await ask(`admin/traffic${query({ limit: SHOWN, ...filters, cursor })}`).catch((error) => ({ error }));
    if (answer.error) { fill(note, h("span.bad", answer.error.message)); return; }
    older = answer.next_cursor ?? null;
    more.hidden = !older;
    fill(list, table(COLUMNS, answer.entries, { open, empty: "No exchange matches. Send one, or loosen the filters." }));
    fill(note, cursor ? "older entries; Pause is on" : "");
    if (cursor && !paused) pause.click();
  }

  page.watch((fresh) => {
    if (paused || !fresh.length) return;
    const wanted = fresh.filter((entry) => fits(entry, filters));
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
  if (id) await inspect(page, id);
}

function fits(entry, filters) {
  const has = (value, wanted) => !wanted || String(value ?? "").toLowerCase().includes(wanted.toLowerCase());
  return (!filters.client || entry.client === filters.client)
    && (has(entry.model, filters.model) || has(entry.requested_model, filters.model))
    && (!filters.tier || entry.tier === filters.tier)
    && (!filters.status || statusFits(entry.status, filters.status))
    && (!filters.min_latency_ms || entry.latency_ms >= Number(filters.min_latency_ms))
    && has(`${entry.error ?? ""} ${entry.outcome ?? ""}`, filters.error);
}

const statusFits = (status, wanted) => (/^[1-5]xx$/i.test(wanted) ? String(status)[0] === wanted[0] : String(status) === wanted);
