// How well models and profiles do: latency, errors, climbs, and what was promised.

import { ask } from "./api.js";
import { fill, h, pill, table } from "./dom.js";
import { compact, count, ms, NONE, percent, usd } from "./format.js";

const WINDOWS = ["1m", "5m", "1h", "24h"];

export async function quality(box, page) {
  let window_ = "1h";
  const [buttons, targets, profiles] = [h("div.row"), h("div"), h("div")];
  fill(box, h("header", h("h1", "Quality"), h("span.grow"), buttons),
    h("section.panel.flush", h("header", h("h2", "Profiles, and what was promised")), profiles),
    h("section.panel.flush", h("header", h("h2", "Models by tier")), targets));

  async function refresh() {
    fill(buttons, WINDOWS.map((one) => h("button", { "aria-pressed": String(one === window_), onclick: () => { window_ = one; refresh(); } }, one)));
    const answer = await ask(`admin/analytics?window=${window_}`);
    fill(profiles, table(PROFILES, answer.profiles, { empty: "Nothing was asked in this time." }));
    fill(targets, table(TARGETS, answer.targets, { empty: "Nothing was asked in this time." }));
  }
  await refresh();
  page.every(10, refresh);
}

const FIGURES = [
  ["Requests", (one) => count(one.requests), "num"],
  ["Errors", (one) => h("span", { class: one.error_share > 0.05 ? "bad" : one.error_share > 0.01 ? "warn" : "" }, percent(one.error_share)), "num"],
  ["Median", (one) => ms(one.latency_ms?.p50), "num"],
  ["p90", (one) => ms(one.latency_ms?.p90), "num"],
  ["p99", (one) => ms(one.latency_ms?.p99), "num"],
  ["First output", (one) => ms(one.first_output_ms?.p50), "num"],
];

const PROFILES = [
  ["Profile", (one) => h("b", one.profile)],
  ...FIGURES,
  ["Promise", (one) => promise(one.slo)],
];

const TARGETS = [
  ["Tier", (one) => h("b", one.tier)],
  ["Model", (one) => [one.model, h("span.faint", ` ${one.backend}`)], "wide"],
  ...FIGURES,
  ["Tokens/s", (one) => (one.tokens_per_second ? compact(one.tokens_per_second) : NONE), "num"],
  ["Not enough", (one) => percent(one.insufficient_share), "num"],
  ["Cost", (one) => usd(one.cost_usd), "num"],
];

function promise(slo) {
  if (!slo) return h("span.faint", "none");
  const said = `${ms(slo.latency_ms)} for ${percent(slo.latency_share, 0)}, errors up to ${percent(slo.error_share)}`;
  if (slo.kept === null) return h("span", h("span.soft", said), " ", pill("too little to say"));
  return h("span", h("span.soft", said), " ", slo.kept ? pill("kept", "good") : pill("broken", "bad"));
}
