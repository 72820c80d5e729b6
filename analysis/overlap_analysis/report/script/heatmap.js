"use strict";
// The map of all pairs: an image of one pixel a cell, made once per metric and order, that zooming only stretches.

const LEAST_ROW = 8; // CSS pixels; lower rows carry no names
const STRIP = 11;

/** A map in its element; `select(a, b)` is called with the pair that somebody chooses. */
function makeMap(report, root, select) {
  const map = {
    report,
    root,
    select,
    base: root.querySelector(".base"),
    overlay: root.querySelector(".overlay"),
    metric: "error_correlation",
    order: variantOrder(report, "cluster"),
    view: { x: 0, y: 0, size: report.size },
    cell: null,
    chosen: null,
    band: null,
    work: { images: 0, base: 0, overlay: 0 },
  };
  map.card = makeCard(root.querySelector(".card"));
  map.strips = report.strips.map(({ key, colors }) => {
    const known = new Map(Object.entries(colors));
    return report.variants[key].map((value) => known.get(value));
  });
  map.widest = widestName(report);
  paintCells(map);
  resizeMap(map);
  return map;
}

/** Room that the longest name needs, in CSS pixels. */
function widestName(report) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.font = "13px system-ui, sans-serif";
  return 12 + report.variants.name.reduce((width, name) => Math.max(width, context.measureText(shortName(name)).width), 0);
}

/** Makes the image of all cells anew: another metric or order. */
function paintCells(map) {
  map.work.images += 1;
  const { report, order } = map;
  const colorOf = map.metric === "category" ? categoryPixels(map) : metricPixels(map);
  const image = new ImageData(report.size, report.size);
  const pixels = new Uint32Array(image.data.buffer);
  const blank = pixel(channels(UNDEFINED_COLOR));
  let at = 0;
  for (const a of order) {
    for (const b of order) {
      pixels[at] = a === b ? blank : colorOf(pairIndex(report, a, b));
      at += 1;
    }
  }
  map.cells = new OffscreenCanvas(report.size, report.size);
  map.cells.getContext("2d").putImageData(image, 0, 0);
}

function metricPixels(map) {
  const values = metricValues(map.report, map.metric);
  map.scale = scaleOf(map.metric, values);
  const { low, high } = map.scale;
  const palette = shades(map.scale.colors);
  const blank = pixel(channels(UNDEFINED_COLOR));
  const step = (SHADES - 1) / (high - low);
  return (at) => (Number.isNaN(values[at]) ? blank : palette[Math.round((values[at] - low) * step)]);
}

function categoryPixels(map) {
  map.scale = null;
  const palette = map.report.categoryColors.map((color) => pixel(channels(color)));
  return (at) => palette[map.report.pairs.category[at]];
}

function showMetric(map, metric) {
  map.metric = metric;
  paintCells(map);
  drawMap(map);
}

function showOrder(map, name) {
  const cell = map.cell && [map.order[map.cell.row], map.order[map.cell.column]];
  map.order = variantOrder(map.report, name);
  map.cell = cell && { row: map.order.indexOf(cell[0]), column: map.order.indexOf(cell[1]) };
  paintCells(map);
  drawMap(map);
}

/** Shows a square of cells, moved and cut so that it lies on the map. */
function showSquare(map, x, y, size) {
  const whole = map.report.size;
  const cells = Math.min(whole, Math.max(Math.min(whole, 4), Math.round(size)));
  const inside = (start) => Math.min(Math.max(0, Math.round(start)), whole - cells);
  map.view = { x: inside(x), y: inside(y), size: cells };
  drawMap(map);
}

/** Zooms by a factor around a cell, or the middle. */
function zoomMap(map, factor, cell = null) {
  const { x, y, size } = map.view;
  const [column, row] = cell ? [cell.column + 0.5, cell.row + 0.5] : [x + size / 2, y + size / 2];
  const to = factor < 1 ? Math.floor(size * factor) : Math.ceil(size * factor);
  showSquare(map, column - ((column - x) * to) / size, row - ((row - y) * to) / size, to);
}

/** Fits the canvases to the width of the page. */
function resizeMap(map) {
  map.width = map.root.clientWidth;
  drawMap(map);
}

/** Where the cells lie on the canvas, in CSS pixels; names take room only where rows are high enough. */
function layoutOf(map) {
  const strips = STRIP * map.strips.length;
  const room = Math.min(250, Math.round(map.width * 0.3), map.widest);
  const row = (map.width - strips - room) / map.view.size;
  const names = row >= LEAST_ROW ? room : 0;
  return { names, strips, left: names + strips, side: map.width - names - strips };
}

function drawMap(map) {
  map.work.base += 1;
  map.layout = layoutOf(map);
  const { left, side } = map.layout;
  const { x, y, size } = map.view;
  const context = contextOf(map.base, map.width, side);
  context.imageSmoothingEnabled = map.base.width < size;
  context.imageSmoothingQuality = "high";
  context.drawImage(map.cells, x, y, size, size, left, 0, side, side);
  drawStrips(map, context);
  if (map.layout.names) drawNames(map, context);
  contextOf(map.overlay, map.width, side);
  drawOverlay(map);
}

function drawStrips(map, context) {
  const row = map.layout.side / map.view.size;
  map.strips.forEach((colors, place) => {
    for (let k = 0; k < map.view.size; k += 1) {
      context.fillStyle = colors[map.order[map.view.y + k]];
      const top = Math.floor(k * row); // whole pixels: parts of them would fade
      context.fillRect(map.layout.names + STRIP * place, top, STRIP - 3, Math.ceil((k + 1) * row) - top);
    }
  });
}

function drawNames(map, context) {
  const row = map.layout.side / map.view.size;
  const size = Math.min(13, Math.max(LEAST_ROW, row * 0.8));
  context.font = `${size}px system-ui, sans-serif`;
  context.fillStyle = "#1c2126";
  context.textAlign = "right";
  context.textBaseline = "middle";
  const letters = Math.max(8, Math.floor(map.layout.names / (size * 0.52)));
  for (let k = 0; k < map.view.size; k += 1) {
    const name = map.report.variants.name[map.order[map.view.y + k]];
    context.fillText(shortName(name, letters), map.layout.names - 6, (k + 0.5) * row, map.layout.names - 6);
  }
}

/** Draws what follows the pointer: the only thing that a hover draws. */
function drawOverlay(map) {
  map.work.overlay += 1;
  const context = map.overlay.getContext("2d");
  const { left, side } = map.layout;
  context.clearRect(0, 0, map.width, side);
  if (map.chosen) outline(map, context, map.chosen, "#000", 2);
  if (map.band) {
    context.fillStyle = "rgb(31 95 139 / 20%)";
    context.fillRect(map.band.x, map.band.y, map.band.width, map.band.height);
  }
  if (!map.cell) return;
  const { x, y, size } = cellBox(map, map.cell);
  context.fillStyle = "rgb(28 33 38 / 18%)";
  context.fillRect(left, y, side, size);
  context.fillRect(x, 0, size, side);
  context.clearRect(x, y, size, size);
  outline(map, context, map.cell, "#1c2126", 2);
}

function cellBox(map, cell) {
  const size = map.layout.side / map.view.size;
  return { x: map.layout.left + (cell.column - map.view.x) * size, y: (cell.row - map.view.y) * size, size };
}

function outline(map, context, cell, color, width) {
  const { x, y, size } = cellBox(map, cell);
  if (x + size <= map.layout.left) return;
  context.strokeStyle = "#fff";
  context.lineWidth = width + 2;
  context.strokeRect(x, y, size, size);
  context.strokeStyle = color;
  context.lineWidth = width;
  context.strokeRect(x, y, size, size);
}

/** The cell at a place of the screen; null outside the map. */
function cellAt(map, clientX, clientY) {
  const box = map.overlay.getBoundingClientRect();
  const { left, side } = map.layout;
  const across = (clientX - box.left - left) / side;
  const down = (clientY - box.top) / side;
  if (across < 0 || across >= 1 || down < 0 || down >= 1) return null;
  const { x, y, size } = map.view;
  return { row: y + Math.floor(down * size), column: x + Math.floor(across * size) };
}
