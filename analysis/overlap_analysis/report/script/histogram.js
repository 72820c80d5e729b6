"use strict";
// Two histograms of θ above each other, by the outcomes of a pair: examples alike, examples that exactly one gets right.

const THETA_TEXT =
  "θ = atan2(confidence of A, confidence of B) \u2212 45°, confidence being the calibrated probability of a variant's " +
  "own prediction: right of 0, A is the surer one. If the two are specialists, the examples that only A gets right lie " +
  "on the right and those that only B gets right on the left.";
const OUTCOME_COLORS = ["#c5ced6", "#1f5f8b", "#e08214", "#6b7680"];
const PANELS = [
  { title: "both right or both wrong", outcomes: [0, 3] },
  { title: "exactly one right", outcomes: [1, 2] },
];
const BINS = 30;
const PANEL = { left: 46, width: 640, top: 40, height: 130, gap: 46 };

/** A picture of the examples' θ; `known` have one. */
function thetaHistogram(known) {
  const height = PANEL.top + 2 * PANEL.height + PANEL.gap + 42;
  const label = `Histogram of θ over ${known.length} examples`;
  const box = `0 0 ${PANEL.left + PANEL.width + 14} ${height}`;
  const picture = makeSvg("svg", { viewBox: box, role: "img", "aria-label": label, class: "histogram" });
  PANELS.forEach((panel, place) => {
    const top = PANEL.top + place * (PANEL.height + PANEL.gap);
    picture.append(...panelParts(known, panel, top));
  });
  picture.append(...thetaAxis(height));
  return picture;
}

/** How many examples of each outcome lie in each bin. */
function binCounts(known, outcomes) {
  return outcomes.map((outcome) => {
    const bins = new Array(BINS).fill(0);
    for (const each of known) {
      const bin = Math.floor(((each.theta + 45) / 90) * BINS);
      if (each.outcome === outcome) bins[Math.min(BINS - 1, Math.max(0, bin))] += 1;
    }
    return bins;
  });
}

function panelParts(known, panel, top) {
  const counts = binCounts(known, panel.outcomes);
  const highest = Math.max(1, ...counts[0].map((count, bin) => count + counts[1][bin]));
  const bottom = top + PANEL.height;
  const parts = [...panelLegend(panel, counts, top)];
  for (const value of ticks(0, highest, 3).filter(Number.isInteger)) {
    const y = bottom - (value / highest) * PANEL.height;
    parts.push(makeSvg("line", { x1: PANEL.left, x2: PANEL.left + PANEL.width, y1: y, y2: y, class: "grid" }));
    parts.push(makeSvg("text", { x: PANEL.left - 6, y: y + 4, "text-anchor": "end" }, thousands(value)));
  }
  const middle = PANEL.left + PANEL.width / 2;
  parts.push(makeSvg("line", { x1: middle, x2: middle, y1: top, y2: bottom, class: "middle" }));
  const width = PANEL.width / BINS;
  const base = new Array(BINS).fill(0);
  counts.forEach((bins, place) => {
    bins.forEach((count, bin) => {
      base[bin] += count;
      if (!count) return;
      const [y, height] = [bottom - (base[bin] / highest) * PANEL.height, (count / highest) * PANEL.height];
      const fill = OUTCOME_COLORS[panel.outcomes[place]];
      parts.push(makeSvg("rect", { x: PANEL.left + bin * width + 0.5, y, width: width - 1, height, fill }));
    });
  });
  return parts;
}

function panelLegend(panel, counts, top) {
  return panel.outcomes.flatMap((outcome, place) => {
    const x = PANEL.left + 220 * place;
    const total = counts[place].reduce((sum, count) => sum + count, 0);
    const text = `${OUTCOMES[outcome]}: ${thousands(total)}`;
    return [
      makeSvg("rect", { x, y: top - 21, width: 11, height: 11, fill: OUTCOME_COLORS[outcome] }),
      makeSvg("text", { x: x + 17, y: top - 11 }, text),
    ];
  });
}

function thetaAxis(height) {
  const y = height - 24;
  const marks = [-45, -30, -15, 0, 15, 30, 45].map((degrees) => {
    const x = PANEL.left + ((degrees + 45) / 90) * PANEL.width;
    return makeSvg("text", { x, y, "text-anchor": "middle" }, `${withMinus(String(degrees))}°`);
  });
  const text = (x, anchor, words) => makeSvg("text", { x, y: y + 18, "text-anchor": anchor }, words);
  const end = PANEL.left + PANEL.width;
  return [...marks, text(PANEL.left, "start", "← B is surer"), text((PANEL.left + end) / 2, "middle", "θ"),
    text(end, "end", "A is surer →")];
}
