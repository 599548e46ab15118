// Elements from values: text is always text, so nothing that a client or a backend wrote is markup.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: h("a.name", { href, onclick }, child, [more], "text"). */
export function h(name, ...rest) {
  return build(document.createElement(name.split(".")[0] || "div"), name, rest);
}

/** The same for SVG. */
export function s(name, ...rest) {
  return build(document.createElementNS(SVG, name.split(".")[0]), name, rest);
}

function build(element, name, rest) {
  for (const word of name.split(".").slice(1)) element.classList.add(word);
  const [first] = rest;
  if (first && typeof first === "object" && !(first instanceof Node) && !Array.isArray(first)) {
    give(element, rest.shift());
  }
  put(element, rest);
  return element;
}

function give(element, values) {
  for (const [key, value] of Object.entries(values)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.classList.add(...String(value).split(" ").filter(Boolean));
    else if (key === "style") for (const [of, is] of Object.entries(value)) element.style.setProperty(of, is);
    else element.setAttribute(key, value === true ? "" : value);
  }
}

function put(element, children) {
  for (const child of children.flat(9)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces what is in *element*; what had the focus there has it again, if it is still there. */
export function fill(element, ...children) {
  const find = focused(element);
  element.replaceChildren();
  put(element, children);
  find?.()?.focus({ preventScroll: true });
  return element;
}

/** Says how to find what has the focus within *element*: by its "data-of", or else by its place. */
function focused(element) {
  let node = document.activeElement;
  if (!node || node === element || !element.contains(node)) return null;
  const of = node.dataset.of;
  if (of) return () => [...element.querySelectorAll("[data-of]")].find((one) => one.dataset.of === of);
  const said = node.tagName + node.textContent;
  const path = [];
  for (; node !== element; node = node.parentNode) path.unshift([...node.parentNode.children].indexOf(node));
  return () => {
    const found = path.reduce((at, index) => at?.children[index], element);
    return found && found.tagName + found.textContent === said ? found : null;
  };
}

/** A table; columns are [heading, cell(row), class?]. With *open*, rows can be chosen. */
export function table(columns, rows, { open, empty = "Nothing here yet.", cards = true, tight = false } = {}) {
  if (!rows.length) return h("p.empty", empty);
  const head = h("tr", columns.map(([name, , kind]) => h("th", { class: kind, scope: "col" }, name)));
  const body = h("tbody", rows.map((row) => line(columns, row, open)));
  return h("div.scroll", h("table", { class: `${cards ? "cards" : ""} ${tight ? "tight" : ""}` }, h("thead", head), body));
}

/** One row of such a table. */
export function line(columns, row, open) {
  const cells = columns.map(([name, cell, kind]) => h("td", { class: kind, "data-name": name || null }, cell(row)));
  if (!open) return h("tr", cells);
  const act = () => open(row);
  const key = (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); }
  };
  return h("tr.open", { tabindex: 0, onclick: act, onkeydown: key }, cells);
}

export const pill = (text, kind = "") => h("span.pill", { class: kind }, text);
export const tag = (text) => h("span.pill.plain", text);

/** A list of terms and what they are; empty ones are left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl.facts", known.map(([name, value]) => [h("dt", name), h("dd", value)]));
}

/** How much of a bound is used. */
export function meter(used, bound) {
  const share = bound > 0 ? Math.min(1, Math.max(0, used / bound)) : 0;
  const kind = share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "";
  const bar = h("i", { class: kind, style: { width: `${(share * 100).toFixed(1)}%` } });
  return h("div.meter", { role: "meter", "aria-valuenow": Math.round(share * 100), "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
}

/** Says something for a while. */
export function toast(text, bad = false) {
  const shown = h("div.toast", { class: bad ? "bad" : "" }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), bad ? 9000 : 4500);
}
