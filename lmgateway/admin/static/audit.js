// Who did what on this port, who was turned away, and which configuration was served.

import { ask, query } from "./api.js";
import { fill, h, pill, table, tag } from "./dom.js";
import { moment, NONE } from "./format.js";

const KINDS = ["", "action", "denied", "config", "alarm"];

export async function audit(box, page) {
  if (!page.may("operator")) {
    fill(box, h("header", h("h1", "Audit")), h("p.empty", "Your role may not see the audit log."));
    return;
  }
  const list = h("section.panel.flush");
  const more = h("button.quiet", { onclick: () => load(next) }, "Older");
  const kind = h("select", { "aria-label": "Kind", onchange: () => load() },
    KINDS.map((one) => h("option", { value: one }, one || "everything")));
  const open = (row) => page.open(
    h("header", h("div.grow", h("h1.clip", about(row.facts)), h("p.soft", moment(row.at))), h("button", { onclick: page.close, "aria-label": "Close" }, "✕")),
    h("section", h("h2", "As it was written down"), h("pre", JSON.stringify(row, null, 2))));
  let next = null;
  fill(box, h("header", h("h1", "Audit"), h("span.grow"), kind), list, h("div.row", more));

  async function load(cursor) {
    const answer = await ask(`admin/audit${query({ limit: 100, kind: kind.value, cursor })}`);
    next = answer.next_cursor;
    more.hidden = !next;
    fill(list, table(COLUMNS, answer.rows, { open, empty: "Nothing was written down." }));
  }
  await load();
}

/** What a row is about: the path that was asked for, with the names in it; or what changed. */
function about({ route, path, what, error, changed = [] }) {
  return route ? `${route.split(" ")[0]} ${path ?? route.split(" ")[1]}` : path ?? what ?? error ?? changed.join(", ");
}

const good = (facts) => facts.ok ?? (facts.status === undefined ? false : facts.status < 400);

const COLUMNS = [
  ["When", (row) => moment(row.at)],
  ["Kind", (row) => tag(row.kind)],
  ["Who", (row) => h("b", row.facts.actor ?? row.facts.client ?? NONE)],
  ["From", (row) => row.facts.ip ?? NONE],
  ["What", (row) => h("code.small", about(row.facts)), "wide"],
  ["Outcome", (row) => (row.kind === "alarm" ? pill("alarm", "bad")
    : pill(String(row.facts.status ?? (good(row.facts) ? "applied" : "refused")), good(row.facts) ? "good" : "bad"))],
];
