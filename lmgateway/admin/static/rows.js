// Exchanges as rows of a table, and one of them whole: where its time went, and why it went there.

import { ask } from "./api.js";
import { facts, h, pill, tag } from "./dom.js";
import { bytes, count, moment, ms, NONE, pace, time, usd, verdict } from "./format.js";

/** The columns of a list of exchanges; see `table` in dom.js. */
export const COLUMNS = [
  ["Time", (entry) => h("span.soft", time(entry.timestamp))],
  ["Client", (entry) => entry.client || h("span.faint", "anonymous"), "wide"],
  ["Asked for", (entry) => entry.requested_model || NONE, "wide"],
  ["Tier", where, "wide"],
  ["Mode", (entry) => h("span.soft", entry.routing_mode || NONE)],
  ["Tokens", (entry) => (entry.input_tokens === null && entry.output_tokens === null ? NONE
    : `${count(entry.input_tokens ?? 0)} → ${count(entry.output_tokens ?? 0)}`), "num"],
  ["Cost", (entry) => usd(entry.cost_usd), "num"],
  ["First", (entry) => ms(entry.ttft_ms), "num"],
  ["Took", (entry) => h("span", { class: pace(entry.latency_ms) }, ms(entry.latency_ms)), "num"],
  ["Outcome", (entry) => pill(...verdict(entry))],
];

/** Where an exchange was answered; or, fainter, where it was tried last. */
function where(entry) {
  if (entry.tier) return [h("b", entry.tier), h("span.faint", ` ${entry.backend ?? ""}`)];
  const tried = entry.attempts[entry.attempts.length - 1];
  return tried ? h("span.faint", `${tried.tier} ${tried.backend}`) : NONE;
}

/** Opens one exchange in the drawer. */
export async function inspect(page, id) {
  const told = await ask(`admin/traffic/${encodeURIComponent(id)}`);
  const { entry } = told;
  page.open(title(entry, page), waterfall(entry, told.spans), reasons(told.why),
    h("section", h("h2", "Facts"), about(entry)), raw(told));
}

function title(entry, page) {
  return h("header",
    h("div.grow", h("h1.clip", entry.requested_model || entry.path), h("p.mono.clip", h("a", { href: `#traffic/${encodeURIComponent(entry.id)}`, title: "The address of this request" }, entry.id))),
    pill(...verdict(entry)),
    h("button", { onclick: page.close, "aria-label": "Close" }, "✕"));
}

function waterfall(entry, spans) {
  const from = Math.min(0, ...spans.map((span) => span.start_ms));
  const whole = Math.max(...spans.map((span) => span.start_ms + span.ms), entry.latency_ms, 0.001) - from;
  const share = (value) => `${Math.max(0, Math.min(100, (value / whole) * 100)).toFixed(2)}%`;
  const asked = spans.reduce((all, span) => all + (span.what === "attempt" ? span.ms : 0), 0);
  return h("section", h("h2", "Where the time went"),
    spans.length ? h("div.fall", spans.map((span) => [
      h("span.small.clip", { title: named(span) }, named(span)),
      h("div.track", h("span.bar", { class: colour(span), title: titled(span), style: { left: share(span.start_ms - from), width: share(span.ms) } })),
      h("span.small.soft.num", ms(span.ms)),
    ])) : h("p.soft", "Nothing was measured."),
    h("p.small.soft", `${ms(entry.latency_ms)} in all`, asked ? `, ${ms(asked)} of it until backends began to answer` : ""));
}

const named = (span) => (span.what === "attempt" ? `${span.purpose && span.purpose !== "answer" ? `${span.purpose}: ` : ""}${span.tier}` : span.what);
const titled = (span) => (span.what === "attempt" ? `${span.backend} / ${span.model}: ${span.outcome}` : `${span.what}, ${ms(span.ms)}`);
const SHADES = { receive: "b-soft", decide: "b-violet", wait: "b-warn", answer: "b-good" };
const colour = (span) => (span.what !== "attempt" ? SHADES[span.what] ?? "b-soft" : span.outcome !== "ok" ? "b-bad" : span.purpose === "answer" ? "b-accent" : "b-cool");

const reasons = (why) => h("section", h("h2", "Why this tier"), h("ol.steps", why.map((step) => h("li", step))));

function about(entry) {
  return facts([
    ["When", moment(entry.timestamp)],
    ["Client", [entry.client || "anonymous", entry.group && ` in ${entry.group}`]],
    ["Asked on", `${entry.path} (${entry.surface})`],
    ["Status", entry.status],
    ["Answered by", entry.tier && `${entry.tier}: ${entry.backend} / ${entry.model}`],
    ["Tokens", entry.input_tokens === null ? null : `${count(entry.input_tokens)} in, ${count(entry.output_tokens)} out${entry.usage_estimated ? " (estimated)" : ""}`],
    ["Cost", entry.cost_usd === null ? "no price" : usd(entry.cost_usd)],
    ["Saved", entry.saved_usd === undefined || entry.saved_usd === null ? null : usd(entry.saved_usd)],
    ["First output", ms(entry.ttft_ms)],
    ["Upstream", ms(entry.upstream_ms)],
    ["Sent", bytes(entry.bytes_out)],
    ["Finish", entry.finish_reason],
    ["Priority", entry.priority],
    ["Cache", entry.cache],
    ["Trace", entry.trace_id && h("code", entry.trace_id)],
  ]);
}

function raw(entry) {
  const text = JSON.stringify(entry, null, 2);
  const copy = () => navigator.clipboard?.writeText(text);
  return h("section", h("details", h("summary", "As JSON"), h("div.row", h("button.quiet", { onclick: copy }, "Copy")), h("pre", text)));
}
