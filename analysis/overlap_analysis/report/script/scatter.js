"use strict";
// Ensemble improvement against error inconsistency, a dot a pair.

const MOST_DOTS = 125000;
const BUCKET = 8; // CSS pixels
const NEAR = 10;
const MARGIN = { left: 56, right: 14, top: 14, bottom: 48 };
const SCATTER_HEIGHT = 440;

function makeScatter(report, root, select) {
  const x = metricValues(report, "error_inconsistency").map((share) => 100 * share);
  const y = metricValues(report, "improvement").map((share) => 100 * share);
  const scatter = {
    report,
    root,
    select,
    x,
    y,
    base: root.querySelector(".base"),
    overlay: root.querySelector(".overlay"),
    card: makeCard(root.querySelector(".card")),
    hidden: new Set(),
    dot: -1,
    work: { base: 0, overlay: 0 },
  };
  scatter.all = [...x.keys()].filter((k) => !Number.isNaN(x[k]) && !Number.isNaN(y[k]));
  scatter.dots = mixed(scatter.all, MOST_DOTS);
  scatter.range = dataRange(scatter);
  makeCategoryButtons(scatter);
  resizeScatter(scatter);
  listenToScatter(scatter);
  return scatter;
}

/** At most so many, in an order that has nothing to do with the categories: none hides another. Always the same. */
function mixed(places, most) {
  const key = (place) => Math.imul(place + 1, 0x9e3779b1) >>> 0;
  const limit = (2 ** 32 * most) / places.length;
  return places.filter((place) => key(place) <= limit).sort((a, b) => key(a) - key(b));
}

function dataRange({ all, x, y }) {
  const range = { right: 0, low: 0, high: 0 };
  for (const k of all) {
    range.right = Math.max(range.right, x[k]);
    range.low = Math.min(range.low, y[k]);
    range.high = Math.max(range.high, y[k]);
  }
  const room = 0.04 * Math.max(range.high - range.low, 0.1);
  return { right: 1.03 * Math.max(range.right, 0.1), low: range.low - room, high: range.high + room };
}

function makeCategoryButtons(scatter) {
  const { report, all } = scatter;
  const counts = report.categories.map((_, k) => all.filter((place) => report.pairs.category[place] === k).length);
  const buttons = report.categories.map((name, k) => {
    const dot = make("span", { class: "dot" });
    dot.style.background = report.categoryColors[k];
    const button = make("button", { type: "button", "aria-pressed": "true" }, dot, `${name} (${thousands(counts[k])})`);
    button.addEventListener("click", () => toggleCategory(scatter, k, button));
    return button;
  });
  scatter.root.parentElement.querySelector(".toggles").replaceChildren(...buttons.filter((_, k) => counts[k]));
}

function toggleCategory(scatter, category, button) {
  const hide = !scatter.hidden.delete(category);
  if (hide) scatter.hidden.add(category);
  button.setAttribute("aria-pressed", String(!hide));
  drawScatter(scatter);
}

function isShown(scatter, place) {
  return !scatter.hidden.has(scatter.report.pairs.category[place]);
}

function resizeScatter(scatter) {
  scatter.width = scatter.root.clientWidth;
  scatter.height = Math.min(SCATTER_HEIGHT, Math.round(scatter.width * 0.8));
  drawScatter(scatter);
}

function toScreen(scatter, x, y) {
  const { right, low, high } = scatter.range;
  const across = scatter.width - MARGIN.left - MARGIN.right;
  const down = scatter.height - MARGIN.top - MARGIN.bottom;
  return [MARGIN.left + (x / right) * across, MARGIN.top + ((high - y) / (high - low)) * down];
}

function drawScatter(scatter) {
  scatter.work.base += 1;
  const context = contextOf(scatter.base, scatter.width, scatter.height);
  contextOf(scatter.overlay, scatter.width, scatter.height);
  scatter.shown = scatter.dots.filter((place) => isShown(scatter, place));
  scatter.buckets = bucketDots(scatter);
  drawAxes(scatter, context);
  drawDots(scatter, context);
  drawFit(scatter, context);
  drawStars(scatter, context);
}

/** Dots by where they lie on the screen, so that the nearest is found among few. */
function bucketDots(scatter) {
  const buckets = new Map();
  for (const place of scatter.shown) {
    const [x, y] = toScreen(scatter, scatter.x[place], scatter.y[place]);
    const key = bucketKey(x, y);
    if (buckets.has(key)) buckets.get(key).push(place);
    else buckets.set(key, [place]);
  }
  return buckets;
}

function bucketKey(x, y) {
  return Math.floor(y / BUCKET) * 4096 + Math.floor(x / BUCKET);
}

function drawAxes(scatter, context) {
  const { right, low, high } = scatter.range;
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = "#5d6873";
  context.strokeStyle = "#e3e7eb";
  context.textAlign = "center";
  for (const value of ticks(0, right, scatter.width < 500 ? 4 : 8)) {
    const [x, bottom] = toScreen(scatter, value, low);
    strokeLine(context, x, MARGIN.top, x, bottom);
    context.fillText(decimal(value, right < 4 ? 1 : 0), x, bottom + 17);
  }
  context.fillText("error inconsistency (% of examples)", (MARGIN.left + scatter.width) / 2, scatter.height - 10);
  context.textAlign = "right";
  for (const value of ticks(low, high)) {
    const [left, y] = toScreen(scatter, 0, value);
    context.strokeStyle = Math.abs(value) < 1e-9 ? "#5d6873" : "#e3e7eb";
    strokeLine(context, left, y, scatter.width - MARGIN.right, y);
    context.fillText(decimal(value, high - low < 4 ? 1 : 0), left - 7, y + 4);
  }
  context.save();
  context.translate(14, (scatter.height - MARGIN.bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText("improvement (points)", 0, 0);
  context.restore();
}

function strokeLine(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}

/** Dots that shrink and fade with their number. */
function drawDots(scatter, context) {
  const crowding = Math.sqrt(Math.max(1, scatter.dots.length));
  const radius = Math.min(4, Math.max(1.1, 110 / crowding));
  context.globalAlpha = Math.min(0.75, Math.max(0.18, 25 / crowding));
  for (const place of scatter.shown) {
    const [x, y] = toScreen(scatter, scatter.x[place], scatter.y[place]);
    context.fillStyle = scatter.report.categoryColors[scatter.report.pairs.category[place]];
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}

/** The least-squares line over all pairs of the shown categories, and what it says. */
function drawFit(scatter, context) {
  const shown = scatter.all.filter((place) => isShown(scatter, place));
  const [x, y] = [shown.map((place) => scatter.x[place]), shown.map((place) => scatter.y[place])];
  const { slope, intercept, r } = linearFit(x, y);
  const dots = scatter.shown.length < shown.length ? `; a random ${thousands(scatter.shown.length)} of them drawn` : "";
  const line = Number.isNaN(r) ? "" : `; line: least squares over all, r = ${decimal(r)}`;
  scatter.root.parentElement.querySelector(".fit").textContent = `${thousands(shown.length)} pairs${dots}${line}`;
  scatter.fit = { slope, intercept, r };
  if (Number.isNaN(r)) return;
  const ends = [0, scatter.range.right].map((at) => toScreen(scatter, at, intercept + slope * at));
  context.save();
  context.beginPath();
  context.rect(MARGIN.left, MARGIN.top, scatter.width - MARGIN.left - MARGIN.right,
    scatter.height - MARGIN.top - MARGIN.bottom);
  context.clip();
  context.strokeStyle = "#1c2126";
  context.lineWidth = 1.4;
  strokeLine(context, ...ends[0], ...ends[1]);
  context.restore();
}

/** A star at the mean of each shown category. */
function drawStars(scatter, context) {
  scatter.report.categories.forEach((_, category) => {
    if (scatter.hidden.has(category)) return;
    const own = scatter.all.filter((place) => scatter.report.pairs.category[place] === category);
    if (!own.length) return;
    const mean = (values) => own.reduce((sum, place) => sum + values[place], 0) / own.length;
    const [x, y] = toScreen(scatter, mean(scatter.x), mean(scatter.y));
    context.fillStyle = scatter.report.categoryColors[category];
    context.strokeStyle = "#fff";
    context.lineWidth = 4;
    star(context, x, y);
    context.stroke();
    context.strokeStyle = "#1c2126";
    context.lineWidth = 1.2;
    context.stroke();
    context.fill();
  });
}

function star(context, x, y) {
  context.beginPath();
  for (let k = 0; k < 10; k += 1) {
    const [radius, angle] = [k % 2 ? 4.5 : 11, (k * Math.PI) / 5 - Math.PI / 2];
    context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  context.closePath();
}

function listenToScatter(scatter) {
  const place = (event) => {
    const box = scatter.overlay.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  scatter.overlay.addEventListener("pointermove", (event) => pointAtDot(scatter, ...place(event)));
  scatter.overlay.addEventListener("pointerleave", () => pointAtDot(scatter, -1e4, -1e4));
  scatter.overlay.addEventListener("click", (event) => {
    pointAtDot(scatter, ...place(event));
    if (scatter.dot >= 0) scatter.select(...pairOf(scatter.report, scatter.dot));
  });
}

/** The nearest dot within a few pixels, or -1. */
function nearestDot(scatter, x, y) {
  let [nearest, distance] = [-1, NEAR];
  for (let down = -NEAR; down <= NEAR; down += BUCKET) {
    for (let right = -NEAR; right <= NEAR; right += BUCKET) {
      for (const place of scatter.buckets.get(bucketKey(x + right, y + down)) ?? []) {
        const [atX, atY] = toScreen(scatter, scatter.x[place], scatter.y[place]);
        const away = Math.hypot(atX - x, atY - y);
        if (away < distance) [nearest, distance] = [place, away];
      }
    }
  }
  return nearest;
}

function pointAtDot(scatter, x, y) {
  const dot = nearestDot(scatter, x, y);
  if (dot === scatter.dot) return;
  scatter.dot = dot;
  scatter.work.overlay += 1;
  const context = scatter.overlay.getContext("2d");
  context.clearRect(0, 0, scatter.width, scatter.height);
  scatter.card.element.hidden = dot < 0;
  if (dot < 0) return;
  fillCard(scatter.card, scatter.report, ...pairOf(scatter.report, dot));
  const [atX, atY] = toScreen(scatter, scatter.x[dot], scatter.y[dot]);
  placeCard(scatter.card, atX, atY);
  context.lineWidth = 2;
  context.strokeStyle = "#1c2126";
  context.beginPath();
  context.arc(atX, atY, 6, 0, 2 * Math.PI);
  context.stroke();
}
