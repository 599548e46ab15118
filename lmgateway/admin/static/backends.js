// Backends and tiers: breakers, probes, places, queues; and what an operator may do about them.

import { ask } from "./api.js";
import { facts, fill, h, pill, table, tag } from "./dom.js";
import { ago, count, ms, NONE, percent, span } from "./format.js";

/** How a backend is, in a word, and its class. */
export function backendState(backend) {
  const word = backend.drained ? "drained" : backend.state;
  if (word === "closed") return backend.probe?.well === false ? ["probe fails", "warn"] : ["well", "good"];
  if (word === "half_open" || word === "partial" || word === "drained") return [word.replaceAll("_", " "), "warn"];
  return [word.replaceAll("_", " "), word === "forced_closed" ? "warn" : "bad"];
}

export async function backends(box, page) {
  const [cards, tiers, inflight, overrides] = [h("div.grid"), h("div"), h("div"), h("div")];
  fill(box, h("header", h("h1", "Backends")), overrides, cards,
    h("section.panel.flush", h("header", h("h2", "Tiers, cheapest first")), tiers),
    h("section.panel.flush", h("header", h("h2", "In flight")), inflight));
  const config = await ask("admin/config");
  fill(tiers, table(TIERS, config.tiers));
  const about = new Map((config.backends ?? []).map((backend) => [backend.name, backend]));

  async function refresh() {
    const [seen, flying, over] = await Promise.all([
      ask("admin/backends"), ask("admin/inflight"), ask("admin/overrides")]);
    fill(cards, seen.backends.map((backend) => card(backend, about.get(backend.backend) ?? {}, page, refresh)));
    fill(inflight, table(flightColumns(page, refresh), flying.in_flight, { empty: "Nobody is being served right now." }));
    fill(overrides, list(over.overrides));
  }
  await refresh();
  page.every(3, refresh);
}

const TIERS = [
  ["Tier", (tier) => h("b", tier.name)],
  ["Targets", (tier) => (tier.targets ?? [tier]).map((target) => `${target.backend} / ${target.model}`).join(", "), "wide"],
  ["Window", (tier) => (tier.max_context_tokens ? count(tier.max_context_tokens) : NONE), "num"],
  ["From", (tier) => h("span.faint.small", tier.origin ?? NONE)],
];

const flightColumns = (page, refresh) => [
  ["Client", (one) => one.client || h("span.faint", "anonymous"), "wide"],
  ["Asked for", (one) => one.requested_model ?? one.model ?? NONE, "wide"],
  ["Tier", (one) => one.tier || NONE],
  ["Phase", (one) => tag(one.phase)],
  ["Written", (one) => (one.tokens_out ? `${count(one.tokens_out)} tokens` : NONE), "num"],
  ["For", (one) => ms(one.age_ms), "num"],
  ["", (one) => page.may("operator") && h("button.danger", {
    "data-of": `cancel ${one.id}`,
    onclick: () => page.act("Cancel", `admin/inflight/${encodeURIComponent(one.id)}/cancel`, { sure: "Cut this request short? Its client is told." }).then(refresh),
  }, "Cancel")],
];

const list = (overrides) => overrides.length > 0 && h("section.panel.notice",
  h("h2", "Imposed for now"),
  h("ul", overrides.map((one) => h("li", `${one.kind === "log_level" ? "log level" : `${one.kind} of ${one.target}`}: ${one.value.replaceAll("_", " ")}`,
    h("span.soft", `, for ${span(one.seconds_left)} more`)))));

function card(backend, known, page, refresh) {
  const name = backend.backend;
  const act = (what, verb, body, sure) => async () => {
    const done = await page.act(`${what} ${name}`, `admin/backends/${encodeURIComponent(name)}/${verb}`, { body, sure });
    if (done) refresh();
  };
  const queue = backend.queue;
  const probe = backend.probe;
  return h("section.panel",
    h("header", h("h2", name), known.provider && tag(known.provider), h("span.grow"), pill(...backendState(backend))),
    facts([
      ["Address", known.base_url && h("code.small", known.base_url)],
      ["Key", known.api_key_source && (known.has_api_key ? `from ${known.api_key_source}` : h("span.bad", `missing (${known.api_key_env ?? known.api_key_source})`))],
      ["Errors", backend.samples ? `${percent(backend.errors / backend.samples)} of the last ${count(backend.samples)}` : "nothing asked lately"],
      ["In flight", [count(backend.in_flight), queue && queue.pending ? `, ${count(queue.pending)} waiting` : ""]],
      ["Probe", probe && probing(probe)],
    ]),
    backend.targets.length ? targets(backend) : null,
    page.may("operator") && h("div.row.buttons",
      h("button", { onclick: act("Check", "check") }, "Check"),
      backend.drained ? h("button.main", { "data-of": `drain ${name}`, onclick: act("Undrain", "undrain") }, "Undrain")
        : h("button", { "data-of": `drain ${name}`, onclick: act("Drain", "drain", { seconds: 3600 }, `Send nothing new to ${name} for an hour?`) }, "Drain"),
      h("span.small.soft", "Breaker:"),
      h("button", { onclick: act("Open breaker of", "breaker", { state: "forced_open" }, `Refuse all of ${name} for ten minutes?`) }, "Open"),
      h("button", { onclick: act("Close breaker of", "breaker", { state: "forced_closed" }, `Send to ${name} for ten minutes whatever happens?`) }, "Close"),
      h("button.quiet", { onclick: act("Automatic breaker of", "breaker", { state: "auto" }) }, "Auto")));
}

const probing = (probe) => [
  h("span", { class: probe.well ? "good" : "bad" }, probe.well ? "well" : probe.error ?? `status ${probe.status}`),
  h("span.soft", ` ${ms(probe.ms)}, ${ago(probe.at)}`)];

const targets = (backend) => table([
  ["Model", (target) => target.model, "wide"],
  ["Breaker", (target) => h("span", { class: target.state === "closed" ? "good" : "warn" }, target.state.replaceAll("_", " "))],
  ["Errors", (target) => `${count(target.errors)} / ${count(target.samples)}`, "num"],
  ["First", (target) => ms(target.first_output_ms), "num"],
  ["Whole", (target) => ms(target.whole_ms), "num"],
], backend.targets, { cards: false, tight: true });
