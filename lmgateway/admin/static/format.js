// Numbers, times and verdicts as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const NONE = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(Number(value));

export const count = (value) => (known(value) ? whole.format(value) : NONE);
export const compact = (value) => (known(value) ? (Math.abs(value) < 10000 ? whole.format(value) : short.format(value)) : NONE);
export const percent = (share, digits = 1) => (known(share) ? `${(share * 100).toFixed(share && share < 0.001 ? 2 : digits)} %` : NONE);

export function ms(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0 ms";
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 1000) return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  return value < 60000 ? `${(value / 1000).toFixed(2)} s` : span(value / 1000);
}

/** Seconds as the two largest units. */
export function span(seconds) {
  if (!known(seconds)) return NONE;
  const left = Math.max(0, Math.round(seconds));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min ${left % 60} s`;
  if (left < 86400) return `${Math.floor(left / 3600)} h ${Math.floor((left % 3600) / 60)} min`;
  return `${Math.floor(left / 86400)} d ${Math.floor((left % 86400) / 3600)} h`;
}

export function usd(value) {
  if (!known(value)) return NONE;
  const number = Number(value);
  const size = Math.abs(number);
  const digits = size === 0 || size >= 1 ? 2 : size >= 0.01 ? 3 : 6;
  return `${number < 0 ? "−" : ""}$${size.toFixed(digits)}`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hour12: false });

const date = (at) => (typeof at === "number" ? new Date(at * 1000) : new Date(at));
export const time = (at) => (at ? clock.format(date(at)) : NONE);
export const moment = (at) => (at ? day.format(date(at)) : NONE);
export const ago = (at) => (at ? `${span((Date.now() - date(at)) / 1000)} ago` : NONE);

export const bytes = (value) => {
  if (!known(value)) return NONE;
  if (value < 1024) return `${value} B`;
  return value < 1048576 ? `${(value / 1024).toFixed(1)} KB` : `${(value / 1048576).toFixed(1)} MB`;
};

/** The class of a latency: good below half a second, bad from two on. */
export const pace = (value) => (!known(value) ? "" : value < 500 ? "good" : value < 2000 ? "warn" : "bad");

/** What became of an exchange: [word, class]. */
export function verdict(entry) {
  if (entry.outcome === "ok" || entry.success) return entry.escalated ? ["escalated", "warn"] : ["ok", "good"];
  if (entry.outcome === "client_closed") return ["client left", "faint"];
  return [(entry.outcome || "error").replaceAll("_", " "), "bad"];
}
