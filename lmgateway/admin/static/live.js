// What happens, as it happens: one stream of events, kept in a bounded list.

const KEPT = 400;
const FRAME_MS = 250;

/**
 * Listens to admin/events.
 *
 * `entries` holds the newest exchanges, newest first.  Whoever subscribes is called at most four
 * times a second, with what came since: a page must stay readable at any rate.
 */
export class Live {
  constructor() {
    this.entries = [];
    this.rate = 0;
    this.dropped = false;
    this.connected = false;
    this.listeners = new Set();
    this.fresh = [];
    this.others = [];
    this.seen = [];
  }

  start() {
    this.source = new EventSource("admin/events");
    this.source.addEventListener("open", () => this.turn(true));
    this.source.addEventListener("error", () => this.turn(false));
    this.source.addEventListener("exchange", (event) => this.add(JSON.parse(event.data)));
    this.source.addEventListener("dropped", () => { this.dropped = true; });
    for (const kind of ["breaker", "probe", "reload", "budget", "limit", "override", "key"]) {
      this.source.addEventListener(kind, (event) => this.note(kind, JSON.parse(event.data).facts));
    }
    setInterval(() => this.flush(), FRAME_MS);
  }

  turn(connected) {
    this.connected = connected;
    this.changed = true;
  }

  add(entry) {
    this.fresh.push(entry);
    if (this.fresh.length > KEPT) this.fresh.shift();
    this.seen.push(performance.now());
    if (this.seen.length > 5000) this.seen.splice(0, 1000);
  }

  note(kind, facts) {
    if (this.others.length < 50) this.others.push({ kind, ...facts });
  }

  flush() {
    const since = performance.now() - 10000;
    while (this.seen.length && this.seen[0] < since) this.seen.shift();
    const rate = this.seen.length / 10;
    if (!this.fresh.length && !this.others.length && rate === this.rate && !this.changed) return;
    this.rate = rate;
    this.changed = false;
    const [fresh, others] = [this.fresh.reverse(), this.others];
    [this.fresh, this.others] = [[], []];
    this.entries = [...fresh, ...this.entries].slice(0, KEPT);
    for (const listener of [...this.listeners]) listener(fresh, others);
  }

  /** Puts what the ring already held under what came since. */
  seed(entries) {
    const known = new Set(this.entries.map((entry) => entry.id));
    this.entries = [...this.entries, ...entries.filter((entry) => !known.has(entry.id))].slice(0, KEPT);
  }

  /** Calls *listener(entries, others)* until what is returned is called. */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
