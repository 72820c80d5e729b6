"use strict";
// Puts the parts together when the numbers have been read.

async function start() {
  const report = await readReport();
  const parts = { report };
  const explore = document.getElementById("explorer");
  if (explore) {
    parts.explorer = makeExplorer(report, explore);
    const best = document.querySelector("[data-pair]");
    if (best) showPair(parts.explorer, ...best.dataset.pair.split(" ").map(Number));
  }
  const select = (a, b) => openPair(parts.explorer, a, b);
  if (document.getElementById("map")) parts.map = startMap(report, select);
  if (document.getElementById("scatter")) parts.scatter = makeScatter(report, document.getElementById("scatter"), select);
  makeVariantTable(document.getElementById("variants"));
  listenToPairs(select);
  new ResizeObserver(() => fitWidth(parts)).observe(document.body);
  window.overlapReport = { ...parts, pairCounts, pairMetrics, cellBox, toScreen };
  document.documentElement.dataset.ready = "yes";
}

function startMap(report, select) {
  const map = makeMap(report, document.getElementById("map"), select);
  listenToMap(map);
  const on = (id, event, act) => document.getElementById(id).addEventListener(event, act);
  on("map-metric", "change", (event) => {
    showMetric(map, event.target.value);
    showLegend(map);
  });
  on("map-order", "change", (event) => showOrder(map, event.target.value));
  on("map-in", "click", () => zoomMap(map, 0.5));
  on("map-out", "click", () => zoomMap(map, 2));
  on("map-all", "click", () => showSquare(map, 0, 0, report.size));
  showLegend(map);
  return map;
}

/** Opens a pair in the explorer and brings it into sight. */
function openPair(explorer, a, b) {
  showPair(explorer, a, b);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  explorer.root.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
  explorer.root.querySelector("h2").focus({ preventScroll: true });
}

/** Buttons in tables that open a pair. */
function listenToPairs(select) {
  for (const button of document.querySelectorAll("button[data-pair]")) {
    button.addEventListener("click", () => select(...button.dataset.pair.split(" ").map(Number)));
  }
}

function fitWidth({ map, scatter }) {
  if (map && map.width !== map.root.clientWidth) resizeMap(map);
  if (scatter && scatter.width !== scatter.root.clientWidth) resizeScatter(scatter);
}

start().catch((error) => {
  const text = `The map, the pair explorer and the scatter plot could not start in this browser (${error.message}).`;
  document.querySelector("main").prepend(make("p", { class: "notice" }, text));
  throw error;
});
