"use strict";
// Pointer, wheel, keyboard and buttons of the map.

const LEAST_DRAG = 6; // CSS pixels; less is a click

function listenToMap(map) {
  const { overlay } = map;
  overlay.addEventListener("pointermove", (event) => movePointer(map, event));
  overlay.addEventListener("pointerleave", () => leaveMap(map));
  overlay.addEventListener("pointerdown", (event) => pressPointer(map, event));
  overlay.addEventListener("pointerup", (event) => releasePointer(map, event));
  overlay.addEventListener("pointercancel", () => (map.press = null));
  overlay.addEventListener("blur", () => leaveMap(map));
  overlay.addEventListener("keydown", (event) => pressKey(map, event));
  overlay.addEventListener("wheel", (event) => turnWheel(map, event), { passive: false });
}

function movePointer(map, event) {
  if (map.press) return dragPointer(map, event);
  const cell = cellAt(map, event.clientX, event.clientY);
  if (!cell) return leaveMap(map);
  const box = map.overlay.getBoundingClientRect();
  pointAt(map, cell, event.clientX - box.left, event.clientY - box.top);
}

/** Shows the card of a cell beside a place of the map, and its cross. */
function pointAt(map, cell, x, y) {
  map.cell = cell;
  fillCard(map.card, map.report, map.order[cell.row], map.order[cell.column]);
  placeCard(map.card, x, y);
  drawOverlay(map);
}

function leaveMap(map) {
  if (!map.cell) return;
  map.cell = null;
  map.card.element.hidden = true;
  drawOverlay(map);
}

function pressPointer(map, event) {
  if (event.button !== 0) return;
  map.press = { x: event.clientX, y: event.clientY, view: map.view, moves: event.shiftKey };
  if (event.pointerType === "mouse") map.overlay.setPointerCapture(event.pointerId);
}

function dragPointer(map, event) {
  const [right, down] = [event.clientX - map.press.x, event.clientY - map.press.y];
  if (event.pointerType === "touch" || Math.hypot(right, down) < LEAST_DRAG) return;
  map.card.element.hidden = true;
  if (map.press.moves) {
    const cells = map.view.size / map.layout.side;
    showSquare(map, map.press.view.x - right * cells, map.press.view.y - down * cells, map.view.size);
    return;
  }
  const box = map.overlay.getBoundingClientRect();
  map.band = {
    x: Math.min(map.press.x, event.clientX) - box.left,
    y: Math.min(map.press.y, event.clientY) - box.top,
    width: Math.abs(right),
    height: Math.abs(down),
  };
  drawOverlay(map);
}

function releasePointer(map, event) {
  const press = map.press;
  map.press = null;
  if (!press) return;
  if (Math.hypot(event.clientX - press.x, event.clientY - press.y) < LEAST_DRAG) {
    map.band = null;
    chooseCell(map, cellAt(map, event.clientX, event.clientY));
  } else if (map.band) {
    zoomToBand(map);
  }
}

/** Shows the square of cells around the rectangle that somebody drew. */
function zoomToBand(map) {
  const { x, y, width, height } = map.band;
  map.band = null;
  map.cell = null;
  const cells = map.view.size / map.layout.side;
  const size = Math.ceil(Math.max(width, height) * cells);
  const [middleX, middleY] = [x - map.layout.left + width / 2, y + height / 2];
  showSquare(map, map.view.x + middleX * cells - size / 2, map.view.y + middleY * cells - size / 2, size);
}

function chooseCell(map, cell) {
  if (!cell || cell.row === cell.column) return;
  map.chosen = cell;
  drawOverlay(map);
  map.select(map.order[cell.row], map.order[cell.column]);
}

/** The page scrolls by the wheel alone; with Control or Command the map zooms. */
function turnWheel(map, event) {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoomMap(map, event.deltaY < 0 ? 0.8 : 1.25, cellAt(map, event.clientX, event.clientY));
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function pressKey(map, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in STEPS) {
    stepCell(map, ...STEPS[event.key].map((cells) => cells * (event.shiftKey ? 10 : 1)));
  } else if (event.key === "Enter" && map.cell) {
    chooseCell(map, map.cell);
  } else if (event.key === "+" || event.key === "-") {
    zoomMap(map, event.key === "+" ? 0.5 : 2, map.cell);
  } else if (event.key === "0") {
    showSquare(map, 0, 0, map.report.size);
  } else if (event.key === "Escape") {
    leaveMap(map);
  } else {
    return;
  }
  event.preventDefault();
}

/** Moves the cell of the keyboard, and the view with it. */
function stepCell(map, down, right) {
  const last = map.report.size - 1;
  const { x, y, size } = map.view;
  const start = { row: y, column: x };
  const next = map.cell ? { row: map.cell.row + down, column: map.cell.column + right } : start;
  const cell = { row: Math.min(Math.max(0, next.row), last), column: Math.min(Math.max(0, next.column), last) };
  const follow = (from, at) => Math.min(Math.max(from, at - size + 1), at);
  if (follow(x, cell.column) !== x || follow(y, cell.row) !== y) {
    showSquare(map, follow(x, cell.column), follow(y, cell.row), size);
  }
  const box = cellBox(map, cell);
  pointAt(map, cell, box.x + box.size, box.y + box.size);
  announce(pairSentence(map.report, map.order[cell.row], map.order[cell.column]));
}

function announce(text) {
  document.getElementById("spoken").textContent = text;
}
