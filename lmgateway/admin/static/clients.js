// Who may ask: limits and budgets of each client, and the keys made at run time.

import { ask, askOr } from "./api.js";
import { fill, h, meter, pill, table, toast } from "./dom.js";
import { ago, count, moment, NONE, usd } from "./format.js";

export async function clients(box, page) {
  const [cards, keys] = [h("div.grid"), h("div")];
  fill(box, h("header", h("h1", "Clients")), cards,
    h("section.panel.flush", h("header", h("h2", "Keys made at run time"), h("span.grow"),
      page.may("admin") && h("button.main", { onclick: () => askNew(page, refresh) }, "New key")), keys));

  async function refresh() {
    const [known, made] = await Promise.all([ask("admin/clients"), page.may("operator") ? askOr("admin/keys", null) : null]);
    fill(cards, known.clients.length ? known.clients.map(card)
      : h("p.empty", "No clients are configured: whoever reaches the client port is served."));
    fill(keys, made ? table(keyColumns(page, refresh), made.keys, { empty: "None. Keys of the config file are above." })
      : h("p.empty", "Your role may not see keys."));
  }
  await refresh();
  page.every(5, refresh);
}

function card(client) {
  return h("section.panel",
    h("header", h("h2", client.name), client.group && h("span.pill.plain", client.group), h("span.grow"), h("span.small.soft", client.profile)),
    h("div.view", [
      ...Object.entries(client.limits).filter(([, limit]) => limit).map(([name, limit]) => bound(name,
        limit.most - limit.remaining, limit.most, unit(name), rate(name, limit))),
      ...client.budgets.map((budget) => bound(budget.name, budget.spent_usd + budget.reserved_usd, budget.limit_usd, usd,
        `of ${usd(budget.limit_usd)}${budget.resets_at ? `, anew ${moment(budget.resets_at)}` : ""}`)),
      h("div.row.small.soft", h("span", `spent ${usd(client.spend_usd)}`),
        client.saved_usd !== null && h("span", { class: client.saved_usd < 0 ? "bad" : "" }, `saved ${usd(client.saved_usd)}`)),
    ]));
}

const unit = (name) => (name === "cost" ? usd : count);

/** A bucket may hold less than a minute's worth. */
function rate(name, { limit, most }) {
  const text = unit(name);
  if (name === "concurrency") return `of ${text(limit)} at once`;
  return most === limit ? `of ${text(limit)} a minute` : `of ${text(most)} at once, ${text(limit)} a minute`;
}

const bound = (name, used, most, unit, note) => h("div",
  h("div.row", h("span", name), h("span.grow"), h("span.small.soft", `${unit(used)} ${note}`)), meter(used, most));

const keyColumns = (page, refresh) => [
  ["Key", (key) => h("code", `${key.prefix}…`)],
  ["Name", (key) => h("b", key.may.name), "wide"],
  ["Profile", (key) => key.may.profile ?? NONE, "wide"],
  ["Group", (key) => key.may.group || NONE, "wide"],
  ["State", (key) => pill(...state(key))],
  ["Last used", (key) => (key.last_used_at ? ago(key.last_used_at) : "never")],
  ["Expires", (key) => (key.may.expires ? moment(key.may.expires) : NONE)],
  ["", (key) => page.may("admin") && keyButtons(key, page, refresh)],
];

function state(key) {
  if (key.problem) return ["of no use", "bad"];
  if (key.blocked) return ["blocked", "bad"];
  return key.may.expires && new Date(key.may.expires) <= Date.now() ? ["expired", "bad"] : ["good", "good"];
}

function keyButtons(key, page, refresh) {
  const path = `admin/keys/${encodeURIComponent(key.id)}`;
  const { blocked, may: { name } } = key;
  const act = (what, end, method, sure) => async () => {
    const done = await page.act(`${what} ${name}`, `${path}${end}`, { method, sure });
    if (done?.key) shown(page, done);
    if (done) refresh();
  };
  return h("span.row.still",
    h("button", { "data-of": `block ${key.id}`, onclick: act(blocked ? "Unblock" : "Block", blocked ? "/unblock" : "/block", "POST") }, blocked ? "Unblock" : "Block"),
    h("button", { "data-of": `rotate ${key.id}`, onclick: act("Rotate", "/rotate", "POST", "Make a new secret? The old one works for its grace time.") }, "Rotate"),
    h("button.danger", { "data-of": `delete ${key.id}`, onclick: act("Delete", "", "DELETE", `Delete the key ${name}? It stops working at once.`) }, "Delete"));
}

function askNew(page, refresh) {
  const field = (name, label, extra = {}) => h("label.field", label, h("input", { name, autocomplete: "off", ...extra }));
  const send = async (event) => {
    event.preventDefault();
    const body = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
    for (const name of ["rate_limit_rpm", "max_concurrent"]) if (body[name]) body[name] = Number(body[name]);
    const made = await page.act("New key", "admin/keys", { body });
    if (made) { shown(page, made); refresh(); }
  };
  page.open(h("header", h("div.grow", h("h1", "New key")), h("button", { onclick: page.close, "aria-label": "Close" }, "✕")),
    h("form.view", { onsubmit: send },
      field("name", "Name", { required: true }), field("profile", "Profile", { required: true, value: "default" }), field("group", "Group"),
      field("rate_limit_rpm", "Requests a minute", { inputmode: "numeric", pattern: "[0-9]*" }),
      field("max_concurrent", "At once", { inputmode: "numeric", pattern: "[0-9]*" }),
      field("expires", "Expires (2027-01-31T00:00:00Z)"),
      h("div.row", h("button.main", { type: "submit" }, "Make it"))));
}

function shown(page, made) {
  const secret = made.key;
  const copy = () => navigator.clipboard?.writeText(secret).then(() => toast("Copied."));
  page.open(h("header", h("div.grow", h("h1", "The key")), h("button", { onclick: page.close, "aria-label": "Close" }, "✕")),
    h("section", h("p", "It is shown this once only; what is kept is its hash."), h("pre", secret), h("div.row", h("button.main", { onclick: copy }, "Copy"))));
}
