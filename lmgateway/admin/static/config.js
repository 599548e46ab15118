// The configuration that is served, where each value came from, and its reload.

import { ask } from "./api.js";
import { facts, fill, h, table } from "./dom.js";
import { moment } from "./format.js";

export async function config(box, page) {
  const [status, whole] = [h("section.panel"), h("section.panel.flush")];
  let settings = [];
  let set = true;
  const all = h("button", { "aria-pressed": "false", onclick: () => {
    set = !set;
    all.setAttribute("aria-pressed", String(!set));
    narrow();
  } }, "Defaults too");
  const find = h("input", { placeholder: "Find in it", "aria-label": "Find", oninput: () => narrow() });
  const reload = h("button.main", { onclick: async () => {
    await page.act("Reload", "admin/reload", { sure: "Read the files anew? What is in flight ends as it began." });
    refresh();
  } }, "Reload");
  fill(box, h("header", h("h1", "Configuration"), h("span.grow"), find, all, page.may("operator") && reload), status, whole);

  async function refresh() {
    const [known, status_, levels] = await Promise.all([ask("admin/config"), ask("admin/config/status"), ask("admin/log-level")]);
    settings = known.settings;
    fill(status, facts([
      ["Generation", status_.generation],
      ["Read", moment(status_.loaded_at)],
      ["Checksum", h("code", status_.checksum.slice(0, 16))],
      ["Files", known.files.map((name) => h("div", h("code", name)))],
      ["Last error", status_.last_error && h("span.bad", `${status_.last_error.error} (${moment(status_.last_error.at)})`)],
      ["Log level", logging(levels, page, refresh)],
    ]));
    narrow();
  }

  function narrow() {
    const wanted = find.value.trim().toLowerCase();
    const fits = (row) => (set ? row.origin !== "default" : true)
      && (!wanted || `${row.key} ${JSON.stringify(row.value)} ${row.origin}`.toLowerCase().includes(wanted));
    fill(whole, table(ROWS, settings.filter(fits), { empty: "No setting matches." }));
  }
  await refresh();
}

const ROWS = [
  ["Setting", (row) => h("code", row.key), "wide"],
  ["Value", (row) => h("code", typeof row.value === "string" ? row.value : JSON.stringify(row.value)), "wide"],
  ["From", (row) => h("span.small", { class: row.origin === "default" ? "faint" : "soft" }, row.origin), "wide"],
];

function logging(levels, page, refresh) {
  if (!page.may("operator")) return levels.level;
  const change = async (event) => {
    await page.act("Log level", "admin/log-level", { method: "PUT", body: { level: event.target.value } });
    refresh();
  };
  const lift = () => page.act("Log level", "admin/log-level", { method: "DELETE" }).then(refresh);
  const known = ["debug", "info", "warn", "error", "critical"];
  const all = known.includes(levels.level) ? known : [levels.level, ...known];
  return h("span.row", h("select", { onchange: change, "aria-label": "Log level for a quarter of an hour" },
    all.map((level) => h("option", { selected: level === levels.level }, level))),
    levels.expires && h("span.small.soft", `until ${moment(levels.expires)}, then ${levels.configured}`),
    levels.expires && h("button.quiet", { onclick: lift }, "Now"));
}
