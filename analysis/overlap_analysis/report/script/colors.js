"use strict";
// Scales of color that people with any color vision can read; from ColorBrewer.

const UNDEFINED_COLOR = "#d0d5da";
// Blue to red (RdBu), white at zero.
const DIVERGING = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#ffffff", "#fddbc7", "#f4a582", "#d6604d",
  "#b2182b", "#67001f"];
// Light to dark (YlGnBu).
const SEQUENTIAL = ["#ffffd9", "#edf8b1", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#253494", "#081d58"];
const SHADES = 256;

function channels(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

/** A color as the bytes of an image, on machines that put the lowest byte first: all that run browsers. */
function pixel([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** 256 shades between the given colors, as pixels. */
function shades(colors) {
  const stops = colors.map(channels);
  return Uint32Array.from({ length: SHADES }, (_, k) => {
    const place = (k / (SHADES - 1)) * (stops.length - 1);
    const from = Math.min(Math.floor(place), stops.length - 2);
    return pixel(stops[from].map((value, c) => Math.round(value + (place - from) * (stops[from + 1][c] - value))));
  });
}

/** Colors of a metric and the range of values that they span. */
function scaleOf(name, values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!Number.isFinite(low)) return { low: -1, high: 1, colors: DIVERGING };
  if (METRICS[name].scale === "diverging") {
    const limit = Math.max(0.1, Math.ceil(10 * Math.max(Math.abs(low), Math.abs(high)) - 1e-9) / 10);
    return { low: -limit, high: limit, colors: DIVERGING };
  }
  const from = Math.min(0, Math.floor(low * 100) / 100);
  return { low: from, high: Math.max(0.01, Math.ceil(high * 100) / 100), colors: SEQUENTIAL };
}
