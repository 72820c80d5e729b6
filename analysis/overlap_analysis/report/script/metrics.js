"use strict";
// Every number of a pair, from the counts; the formulas are those of overlap_analysis/pair_metrics.py.

/** Quotient, NaN where the denominator is zero. */
function ratio(numerator, denominator) {
  return denominator === 0 ? NaN : numerator / denominator;
}

function errorInconsistency(n, both, rightA, rightB) {
  return ratio(rightA + rightB - 2 * both, n);
}

function errorCorrelation(n, both, rightA, rightB) {
  const neither = n - rightA - rightB + both;
  const determinant = both * neither - (rightA - both) * (rightB - both);
  return ratio(determinant, Math.sqrt(rightA * (n - rightA) * (rightB * (n - rightB))));
}

function kappa(n, both, rightA, rightB) {
  const independent = rightA * (n - rightB) + rightB * (n - rightA);
  return 1 - ratio((rightA + rightB - 2 * both) * n, independent);
}

function improvement(n, both, rightA, rightB, ensemble) {
  return ratio(2 * ensemble - rightA - rightB, 2 * n);
}

/** What the map can show: `value` of a pair from its counts, `scale` of the colors, how it is written. */
const METRICS = {
  error_correlation: { label: "error correlation φ", scale: "diverging", value: errorCorrelation, text: decimal },
  kappa: { label: "κ", scale: "diverging", value: kappa, text: decimal },
  error_inconsistency: { label: "error inconsistency", scale: "sequential", value: errorInconsistency, text: percent },
  improvement: { label: "ensemble improvement", scale: "sequential", value: improvement, text: points },
};

/** A metric of all pairs, NaN where it is undefined or unknown. */
function metricValues(report, name) {
  const { both, ensemble, unknown } = report.pairs;
  const correct = report.variants.correct;
  const metric = METRICS[name].value;
  const values = new Float64Array(both.length);
  let at = 0;
  for (let a = 0; a < report.size; a += 1) {
    for (let b = a + 1; b < report.size; b += 1) {
      const together = ensemble[at] === unknown ? NaN : ensemble[at];
      values[at] = both[at] === unknown ? NaN : metric(report.examples, both[at], correct[a], correct[b], together);
      at += 1;
    }
  }
  return values;
}

/** All metrics of two variants, by name; null if nobody counted them. */
function pairMetrics(report, a, b) {
  const counts = pairCounts(report, a, b);
  if (!counts) return null;
  const rightA = counts.both + counts.onlyA;
  const rightB = counts.both + counts.onlyB;
  const given = [counts.examples, counts.both, rightA, rightB, counts.ensemble];
  const named = Object.entries(METRICS).map(([name, metric]) => [name, metric.value(...given)]);
  return {
    ...Object.fromEntries(named),
    accuracy_a: rightA / counts.examples,
    accuracy_b: rightB / counts.examples,
    oracle_accuracy: 1 - counts.neither / counts.examples,
    ensemble_accuracy: counts.ensemble / counts.examples,
    gain: (counts.ensemble - Math.max(rightA, rightB)) / counts.examples,
  };
}

/** Slope, intercept and Pearson's r of points; NaN unless three points differ in both axes. */
function linearFit(x, y) {
  const known = [...x.keys()].filter((k) => !Number.isNaN(x[k]) && !Number.isNaN(y[k]));
  const mean = (values) => known.reduce((sum, k) => sum + values[k], 0) / known.length;
  const [meanX, meanY] = [mean(x), mean(y)];
  let [xx, yy, xy] = [0, 0, 0];
  for (const k of known) {
    xx += (x[k] - meanX) ** 2;
    yy += (y[k] - meanY) ** 2;
    xy += (x[k] - meanX) * (y[k] - meanY);
  }
  if (known.length < 3 || xx === 0 || yy === 0) return { slope: NaN, intercept: NaN, r: NaN };
  return { slope: xy / xx, intercept: meanY - (xy / xx) * meanX, r: xy / Math.sqrt(xx * yy) };
}
