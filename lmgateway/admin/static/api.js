// The admin port's JSON, asked with the browser's own cookie; addresses are relative, so a path
// prefix before the page is kept.

let csrf = "";

/** What the server said instead of an answer. */
export class Refused extends Error {
  constructor(status, document) {
    super(document?.error?.message ?? document?.error ?? `The gateway answered ${status}.`);
    this.status = status;
    this.problems = document?.problems ?? [];
  }
}

/** Asks, and gives the JSON answer; a lost login leads to the login page. */
export async function ask(path, { method = "GET", body } = {}) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-csrf-token"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", cache: "no-store",
  });
  const document = await answer.json().catch(() => null);
  if (answer.status === 401) {
    location.assign("login");
  }
  if (!answer.ok) throw new Refused(answer.status, document);
  return document;
}

/** The same, but *otherwise* where the route fails or is not there for this role. */
export const askOr = (path, otherwise) => ask(path).catch(() => otherwise);

export const query = (values) => {
  const known = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return known.length ? `?${new URLSearchParams(known)}` : "";
};

/** Learns who is logged in: { name, role, via, csrf }. */
export async function session() {
  const who = await ask("admin/session");
  csrf = who.csrf ?? "";
  return who;
}
