"use strict";
// What the colors of the map mean.

function showLegend(map) {
  const place = document.getElementById("map-legend");
  place.replaceChildren(map.scale ? scaleLegend(map) : categoryLegend(map.report), ...map.report.strips.map(stripLegend));
}

/** A bar of the scale's colors, with its ends, its middle and where pairs are undefined. */
function scaleLegend(map) {
  const { low, high, colors } = map.scale;
  const { label, text, scale } = METRICS[map.metric];
  const bar = make("span", { class: "bar" });
  bar.style.background = `linear-gradient(to right, ${colors.join(", ")})`;
  const ends = [low, (low + high) / 2, high].map((value) => make("span", {}, text(value, scale === "diverging" ? 1 : 0)));
  const marks = make("span", { class: "marks" }, ...ends);
  return make("p", {}, make("b", {}, label), make("span", { class: "scale" }, bar, marks), chip(UNDEFINED_COLOR, "undefined"));
}

function categoryLegend(report) {
  const used = new Set(report.pairs.category);
  const chips = report.categories.map((name, k) => (used.has(k) ? [chip(report.categoryColors[k], name)] : [])).flat();
  return make("p", {}, make("b", {}, "the two differ in"), ...chips);
}

function stripLegend({ title, colors }) {
  const named = Object.entries(colors);
  const chips = named.filter(([, color]) => color !== UNDEFINED_COLOR).map(([name, color]) => chip(color, name));
  const more = named.length - chips.length;
  return make("p", {}, make("b", {}, title), ...chips, ...(more ? [chip(UNDEFINED_COLOR, `${more} more`)] : []));
}

function chip(color, name) {
  const dot = make("span", { class: "dot" });
  dot.style.background = color;
  return make("span", { class: "chip" }, dot, make("bdi", {}, shortName(name, 40)));
}
