"use strict";
// Numbers and names as a reader sees them, and elements that hold them. Data become text, never markup.

const UNDEFINED_TEXT = "–";
const MINUS = "\u2212";
// Characters that break lines, or that change the direction of what stands beside them.
const CONTROLS = /[\p{Cc}\p{Cs}\p{Cn}\u202a-\u202e\u2066-\u2069]/gu;

function withMinus(text) {
  return text.replace("-", MINUS);
}

function decimal(value, digits = 2) {
  if (Number.isNaN(value)) return UNDEFINED_TEXT;
  return withMinus((value === 0 ? 0 : value).toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));
}

function percent(share, digits = 1) {
  return Number.isNaN(share) ? UNDEFINED_TEXT : `${decimal(100 * share, digits)}\u202f%`;
}

/** A difference of shares in percentage points, with its sign. */
function points(difference, digits = 1) {
  if (Number.isNaN(difference)) return UNDEFINED_TEXT;
  const text = decimal(100 * difference, digits);
  return difference > 0 && !text.startsWith(MINUS) ? `+${text}` : text;
}

function thousands(number) {
  return number.toLocaleString("en-US");
}

/** A name for one line of a figure, cut in the middle. */
function shortName(name, letters = 36) {
  const plain = Array.from(name.replace(/\s+/g, " ").replace(CONTROLS, "\ufffd"));
  if (plain.length <= letters) return plain.join("");
  const head = Math.ceil((letters - 1) / 2);
  return `${plain.slice(0, head).join("")}…${plain.slice(plain.length - (letters - 1 - head)).join("")}`;
}

/** A new element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sharp drawing on a canvas of a size in CSS pixels. */
function contextOf(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Three to seven round numbers in a range. */
function ticks(low, high, most = 6) {
  const rough = (high - low) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(k * step + 0); // no negative zero
  return found;
}
