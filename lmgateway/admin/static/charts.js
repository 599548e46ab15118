// Small charts in SVG: lines and areas over time, no library and no inline style.

import { h, s } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 170;
const EDGE = { left: 46, right: 8, top: 10, bottom: 20 };

/**
 * Draws series over time.
 * points: [{ at: seconds, ... }]; series: [{ name, colour, of(point), area? }]; unit(value): text.
 */
export function chart(title, points, series, unit) {
  const legend = h("div.legend", series.map((one) => h("span", { class: `t-${one.colour}` }, h("b", one.name))));
  const head = h("header", h("h2", title), h("span.grow"), legend);
  if (points.length < 2) return h("section.panel", head, h("p.empty", "Not enough has happened yet."));
  return h("section.panel", head, draw(title, points, series, unit));
}

function draw(title, points, series, unit) {
  const top = Math.max(...series.flatMap((one) => points.map((point) => one.of(point) ?? 0)));
  const low = Math.min(0, ...series.flatMap((one) => points.map((point) => one.of(point) ?? 0)));
  const [most, least] = [nice(top) || 1, -nice(-low) || 0];
  const first = points[0].at;
  const length = points[points.length - 1].at - first || 1;
  const x = (point) => EDGE.left + ((point.at - first) / length) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => EDGE.top + (1 - (value - least) / (most - least)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const scale = [least, least < 0 ? 0 : most / 2, most];
  return s("svg.chart", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": spoken(title, points, series, unit) },
    scale.map((value) => [
      s("line.axis", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value) }),
      s("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, unit(value)),
    ]),
    times(points).map((point, index) => s("text", {
      x: x(point), y: HEIGHT - 4, "text-anchor": ["start", "middle", "end"][index],
    }, hour(point.at))),
    series.map((one) => strokes(one, points, x, y, least)));
}

function strokes(one, points, x, y, least) {
  const runs = [[]];
  for (const point of points) {
    const value = one.of(point);
    if (value === null || value === undefined) runs.push([]);
    else runs[runs.length - 1].push([x(point), y(value)]);
  }
  return runs.filter((run) => run.length).map((run) => {
    const path = `M${run.map((spot) => spot.map((n) => n.toFixed(1)).join(",")).join("L")}`;
    const floor = y(Math.max(0, least)).toFixed(1);
    const area = `${path}L${run[run.length - 1][0].toFixed(1)},${floor}L${run[0][0].toFixed(1)},${floor}Z`;
    return [
      one.area && s("path.area", { d: area, class: `f-${one.colour}` }),
      run.length === 1
        ? s("circle", { cx: run[0][0], cy: run[0][1], r: 2, class: `f-${one.colour}` })
        : s("path.line", { d: path, class: `c-${one.colour}` }),
    ];
  });
}

/** A line without axes, for a tile. */
export function spark(values, colour = "accent") {
  const known = values.map((value) => value ?? 0);
  if (known.length < 2) return h("div.spark");
  const most = Math.max(...known) || 1;
  const spots = known.map((value, index) => `${((index / (known.length - 1)) * 100).toFixed(1)},${(26 - (value / most) * 24).toFixed(1)}`);
  return s("svg.spark", { viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("path.area", { class: `f-${colour}`, d: `M${spots.join("L")}L100,28L0,28Z` }),
    s("path.line", { class: `c-${colour}`, d: `M${spots.join("L")}` }));
}

function nice(value) {
  if (value <= 0) return 0;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * size).find((step) => step >= value * 0.999);
}

const times = (points) => [points[0], points[Math.floor((points.length - 1) / 2)], points[points.length - 1]];
const hour = (at) => new Date(at * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });

function spoken(title, points, series, unit) {
  const last = points[points.length - 1];
  return `${title}: ${series.map((one) => `${one.name} ${unit(one.of(last) ?? 0)} now`).join(", ")}`;
}
