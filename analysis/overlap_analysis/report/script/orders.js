"use strict";
// Orders of the variants. Equal ones keep the order of the sweep.

/** Order of text by code points, the same everywhere. */
function byText(first, second) {
  return first < second ? -1 : Number(first > second);
}

/** Positions of the variants by rank; within a framework or training data the best first. */
function variantOrder(report, name) {
  const { correct } = report.variants;
  const places = [...correct.keys()];
  const best = (a, b) => correct[b] - correct[a];
  const grouped = (key) => places.sort((a, b) => byText(report.variants[key][a], report.variants[key][b]) || best(a, b));
  switch (name) {
    case "accuracy":
      return places.sort(best);
    case "framework":
    case "trainOn":
      return grouped(name);
    case "name":
      return places.sort((a, b) => byText(report.variants.name[a], report.variants.name[b]));
    default:
      return report.clusters.slice();
  }
}
