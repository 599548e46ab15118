// What happens, as it happens: one stream of events, kept in a bounded list.

import { session } from "./api.js";

const KEPT = 400;
const FRAME_MS = 250;
const AGAIN_MS = 3000;

/** What tells exchanges apart: an id alone may come twice, since clients choose it. */
export const mark = (entry) => `${entry.timestamp} ${entry.id}`;

/**
 * Listens to admin/events.
 *
 * `entries` holds the newest exchanges, newest first.  Whoever subscribes is called at most four
 * times a second, with what came since: a page must stay readable at any rate.  Where something may
 * have been missed, since the connection was lost or too slow, it is told so, to ask anew.
 */
export class Live {
  constructor() {
    this.entries = [];
    this.rate = 0;
    this.missed = false;
    this.connected = false;
    this.listeners = new Set();
    this.fresh = [];
    this.others = [];
    this.seen = [];
  }

  start() {
    this.open();
    setInterval(() => this.flush(), FRAME_MS);
  }

  open() {
    this.source = new EventSource("admin/events");
    this.source.addEventListener("open", () => this.turn(true));
    this.source.addEventListener("error", () => this.turn(false));
    this.source.addEventListener("exchange", (event) => this.add(JSON.parse(event.data)));
    this.source.addEventListener("dropped", () => { this.missed = true; });
    for (const kind of ["alarm", "breaker", "budget", "reload", "secret"]) {
      this.source.addEventListener(kind, (event) => this.note(kind, JSON.parse(event.data).facts));
    }
  }

  turn(connected) {
    if (connected && this.lost) this.missed = true;
    this.lost = !connected;
    this.connected = connected;
    this.changed = true;
    // A browser comes back by itself, but not after an answer that is no stream: a proxy's, say,
    // while the gateway is away.  Who is not logged in any more is led to do that first.
    if (this.source.readyState === EventSource.CLOSED) {
      setTimeout(() => session().catch(() => null).then(() => this.open()), AGAIN_MS);
    }
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
    if (!this.fresh.length && !this.others.length && rate === this.rate && !this.changed && !this.missed) return;
    this.rate = rate;
    const [fresh, others, missed] = [this.fresh.reverse(), this.others, this.missed];
    [this.fresh, this.others, this.missed, this.changed] = [[], [], false, false];
    this.entries = [...fresh, ...this.entries].slice(0, KEPT);
    for (const listener of [...this.listeners]) listener(fresh, others, missed);
  }

  /** Puts what the ring already held under what came since. */
  seed(entries) {
    const known = new Set(this.entries.map(mark));
    this.entries = [...this.entries, ...entries.filter((entry) => !known.has(mark(entry)))].slice(0, KEPT);
  }

  /** Calls *listener(entries, others, missed)* until what is returned is called. */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
