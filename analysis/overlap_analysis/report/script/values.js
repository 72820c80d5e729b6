"use strict";
// What the page carries: JSON, with long arrays as compressed little-endian bytes in base64.

const UNKNOWN_CONFIDENCE = 127;

/** The report's numbers: `pairs` hold one entry for each pair a < b, ordered by a, then b. */
async function readReport() {
  const raw = JSON.parse(document.getElementById("data").textContent);
  const Counts = raw.pairs.type === "uint16" ? Uint16Array : Uint32Array;
  const [both, ensemble, category] = await Promise.all([
    unpack(raw.pairs.bothCorrect, Counts),
    unpack(raw.pairs.ensembleCorrect, Counts),
    unpack(raw.pairs.category, Uint8Array),
  ]);
  const codes = raw.sample ? await unpack(raw.sample.codes, Uint8Array) : null;
  return {
    ...raw,
    size: raw.variants.name.length,
    pairs: { both, ensemble, category, unknown: 2 ** (8 * Counts.BYTES_PER_ELEMENT) - 1 },
    sample: raw.sample ? { ...raw.sample, codes } : null,
  };
}

async function unpack(text, Kind) {
  const letters = atob(text);
  const packed = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k += 1) packed[k] = letters.charCodeAt(k);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
}

/** Place of a pair of different variants in the arrays of `report.pairs`. */
function pairIndex(report, a, b) {
  const [low, high] = a < b ? [a, b] : [b, a];
  return (low * (2 * report.size - low - 1)) / 2 + high - low - 1;
}

/** The two variants of a place in those arrays. */
function pairOf(report, place) {
  let [low, high] = [0, report.size - 2];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (pairIndex(report, middle, middle + 1) <= place) low = middle;
    else high = middle - 1;
  }
  return [low, low + 1 + place - pairIndex(report, low, low + 1)];
}

/** The outcomes of two variants on all examples; null if nobody counted them. */
function pairCounts(report, a, b) {
  const at = pairIndex(report, a, b);
  const both = report.pairs.both[at];
  if (both === report.pairs.unknown) return null;
  const [rightA, rightB] = [report.variants.correct[a], report.variants.correct[b]];
  const ensemble = report.pairs.ensemble[at];
  return {
    examples: report.examples,
    both,
    onlyA: rightA - both,
    onlyB: rightB - both,
    neither: report.examples - rightA - rightB + both,
    ensemble: ensemble === report.pairs.unknown ? NaN : ensemble,
    category: report.pairs.category[at],
  };
}

/** Whether a variant is right on a sampled example. */
function sampledRight(report, variant, k) {
  return report.sample.codes[variant * report.sample.ids.length + k] >= 128;
}

/** How sure a variant is of its prediction for a sampled example; NaN if unknown. */
function sampledConfidence(report, variant, k) {
  const q = report.sample.codes[variant * report.sample.ids.length + k] & 127;
  return q === UNKNOWN_CONFIDENCE ? NaN : Math.max(report.classes, 2) ** -((q / 126) ** 2);
}
