"use strict";
// The card that says what a pair is: beside the pointer on the map and on the scatter plot.

const CARD_ROWS = ["both right", "only A right", "only B right", "both wrong", "category", "error correlation φ", "κ",
  "error inconsistency", "ensemble accuracy", "improvement (points)"];

/** Fills an element with places for texts; `fillCard` only changes those. */
function makeCard(element) {
  const names = [make("bdi"), make("bdi")];
  const values = CARD_ROWS.map(() => make("dd"));
  const list = make("dl", {}, ...CARD_ROWS.flatMap((label, k) => [make("dt", {}, label), values[k]]));
  const pair = names.map((name, k) => make("p", {}, make("b", {}, "AB"[k]), " ", name));
  element.replaceChildren(...pair, list);
  return { element, names, values, list, second: pair[1] };
}

/** The texts of a pair, in the order of the card's rows. */
function pairTexts(report, a, b) {
  const counts = pairCounts(report, a, b);
  if (!counts) return CARD_ROWS.map(() => UNDEFINED_TEXT);
  const found = pairMetrics(report, a, b);
  return [
    ...[counts.both, counts.onlyA, counts.onlyB, counts.neither].map(thousands),
    report.categories[counts.category],
    decimal(found.error_correlation),
    decimal(found.kappa),
    percent(found.error_inconsistency),
    percent(found.ensemble_accuracy, 2),
    points(found.improvement, 2),
  ];
}

function fillCard(card, report, a, b) {
  const same = a === b;
  card.names[0].textContent = shortName(report.variants.name[a], 60);
  card.names[1].textContent = same ? "" : shortName(report.variants.name[b], 60);
  card.second.hidden = same;
  card.list.hidden = same;
  if (!same) pairTexts(report, a, b).forEach((text, k) => (card.values[k].textContent = text));
  card.element.hidden = false;
}

/** Puts the card beside a place in its parent, inside the parent's width. */
function placeCard(card, x, y) {
  const { offsetWidth: width, offsetHeight: height, offsetParent: parent } = card.element;
  const right = x + 18 + width <= parent.clientWidth;
  const left = right ? x + 18 : Math.max(0, x - 18 - width);
  const top = Math.max(0, Math.min(y + 18, parent.clientHeight - height));
  card.element.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}

/** A pair in one sentence, for those who listen. */
function pairSentence(report, a, b) {
  const [first, second] = [report.variants.name[a], report.variants.name[b]];
  if (a === b) return `${first}: ${percent(report.variants.correct[a] / report.examples)} right`;
  const found = pairMetrics(report, a, b);
  if (!found) return `${first} and ${second}: not counted`;
  const [phi, inconsistent] = [decimal(found.error_correlation), percent(found.error_inconsistency)];
  return `${first} and ${second}: φ ${phi}, error inconsistency ${inconsistent}`;
}
