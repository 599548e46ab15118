// Money: what was spent and saved, by day, client, model and tier; as admin/usage has it.

import { ask, query } from "./api.js";
import { fill, h, table } from "./dom.js";
import { compact, count, usd } from "./format.js";

const BY = { day: "Day", client: "Client", group: "Group", model: "Model", tier: "Tier" };
const LENGTHS = { 1: "today", 7: "7 days", 31: "31 days", 366: "a year" };

export async function spend(box, page) {
  const wanted = { by: "day", days: "31" };
  const [sums, list] = [h("div.tiles"), h("section.panel.flush")];
  const buttons = h("div.row");
  fill(box, h("header", h("h1", "Spend"), h("span.grow"), buttons), sums, list);

  const choice = (name, words) => Object.entries(words).map(([value, word]) => h("button", {
    "aria-pressed": String(wanted[name] === value), onclick: () => { wanted[name] = value; refresh(); },
  }, word));

  async function refresh() {
    const from = new Date(Date.now() - (Number(wanted.days) - 1) * 86400000).toISOString().slice(0, 10);
    fill(buttons, choice("by", BY), h("span.faint", "·"), choice("days", LENGTHS),
      h("a.button", { href: `admin/usage${query({ by: `${wanted.by}`, from, format: "csv" })}`, download: "usage.csv" }, "CSV"));
    const answer = await ask(`admin/usage${query({ by: wanted.by, from, limit: 500 })}`);
    const { rows, totals } = answer;
    fill(sums,
      tile("Spent", usd(totals.cost_usd)), tile("Saved", usd(totals.saved_usd)), tile("Requests", compact(totals.requests)),
      tile("Tokens read", compact(totals.input_tokens)), tile("Tokens written", compact(totals.output_tokens)),
      tile("A request costs", totals.requests ? usd(totals.cost_usd / totals.requests) : "–"));
    fill(list, table(columns(wanted.by), rows, { empty: "Nothing was asked in this time." }));
  }
  await refresh();
  page.every(15, refresh);
}

const tile = (name, value) => h("section.panel.tile", h("span.name", name), h("span.value", value));

const columns = (by) => [
  [BY[by], (row) => row[by] || h("span.faint", "none")],
  ["Requests", (row) => count(row.requests), "num"],
  ["Read", (row) => compact(row.input_tokens), "num"],
  ["Written", (row) => compact(row.output_tokens), "num"],
  ["Cost", (row) => (row.cost_usd === null ? "no price" : usd(row.cost_usd)), "num"],
  ["Saved", (row) => h("span", { class: row.saved_usd < 0 ? "bad" : "" }, usd(row.saved_usd)), "num"],
];
