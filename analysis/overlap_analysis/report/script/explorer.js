"use strict";
// Two variants in detail: their outcomes, every number of the pair, and where on the sampled examples they differ.

const MOST_EXAMPLES = 200;
const OUTCOMES = ["both right", "only A right", "only B right", "both wrong"];

function makeExplorer(report, root) {
  const explorer = { report, root, pair: null, inputs: ["explore-a", "explore-b"].map((id) => document.getElementById(id)) };
  document.getElementById("variant-names").append(...report.variants.name.map((name) => make("option", { value: name })));
  const places = new Map(report.variants.name.map((name, place) => [name, place]));
  for (const input of explorer.inputs) {
    input.addEventListener("change", () => {
      const [a, b] = explorer.inputs.map((each) => places.get(each.value));
      tellUnknown(explorer, a, b);
      if (a !== undefined && b !== undefined && a !== b) showPair(explorer, a, b);
    });
  }
  document.getElementById("explore-swap").addEventListener("click", () => {
    if (explorer.pair) showPair(explorer, explorer.pair[1], explorer.pair[0]);
  });
  return explorer;
}

function tellUnknown(explorer, a, b) {
  const unknown = explorer.inputs.find((input, k) => input.value && [a, b][k] === undefined);
  const same = a !== undefined && a === b;
  const problem = unknown ? "There is no variant of this name." : "These are the same variant: choose two.";
  explorer.root.querySelector(".problem").textContent = unknown || same ? problem : "";
}

/** Shows the details of two different variants. */
function showPair(explorer, a, b) {
  const { report, root } = explorer;
  explorer.pair = [a, b];
  explorer.inputs.forEach((input, k) => (input.value = report.variants.name[[a, b][k]]));
  root.querySelector(".problem").textContent = "";
  const counts = pairCounts(report, a, b);
  const details = counts
    ? [pairNames(report, a, b), make("div", { class: "columns" }, outcomeTable(counts), metricList(report, a, b)), ...sampleParts(report, a, b)]
    : [make("p", {}, "Nobody counted this pair.")];
  root.querySelector(".details").replaceChildren(...details);
}

/** Both names in full: the inputs may cut them, and a print has no inputs. */
function pairNames(report, a, b) {
  const line = (letter, variant) => [make("b", {}, letter), " ", make("bdi", {}, report.variants.name[variant])];
  return make("p", { class: "pair" }, ...line("A", a), make("br"), ...line("B", b));
}

/** The counts of the four outcomes with their shares of all examples. */
function outcomeTable(counts) {
  const cell = (count) => {
    const share = make("span", { class: "interval" }, percent(count / counts.examples));
    return make("td", { class: "number" }, thousands(count), " ", share);
  };
  const row = (label, ...cells) => make("tr", {}, make("th", { scope: "row" }, label), ...cells.map(cell));
  const heads = ["", "B right", "B wrong"].map((text) => make("th", { scope: "col", class: "number" }, text));
  const body = make("tbody", {}, row("A right", counts.both, counts.onlyA), row("A wrong", counts.onlyB, counts.neither));
  const caption = make("caption", {}, `Outcomes on all ${thousands(counts.examples)} examples`);
  return make("table", { class: "outcomes" }, caption, make("thead", {}, make("tr", {}, ...heads)), body);
}

function metricList(report, a, b) {
  const found = pairMetrics(report, a, b);
  const rows = [
    ["the two differ in", report.categories[pairCounts(report, a, b).category]],
    ["accuracy of A, of B", `${percent(found.accuracy_a, 2)}, ${percent(found.accuracy_b, 2)}`],
    ["error inconsistency", percent(found.error_inconsistency, 2)],
    ["error correlation φ", decimal(found.error_correlation, 3)],
    ["κ", decimal(found.kappa, 3)],
    ["at least one right", percent(found.oracle_accuracy, 2)],
    ["mean of their probabilities right", percent(found.ensemble_accuracy, 2)],
    ["improvement over the mean of the two", points(found.improvement, 2)],
    ["gain over the better one", points(found.gain, 2)],
  ];
  return make("dl", { class: "metrics" }, ...rows.flatMap(([label, text]) => [make("dt", {}, label), make("dd", {}, text)]));
}

/** What two variants do on the sampled examples: outcome as a place in `OUTCOMES`, confidences, θ in degrees. */
function sampledPair(report, a, b) {
  return report.sample.ids.map((id, k) => {
    const [rightA, rightB] = [sampledRight(report, a, k), sampledRight(report, b, k)];
    const [sureA, sureB] = [sampledConfidence(report, a, k), sampledConfidence(report, b, k)];
    const theta = (Math.atan2(sureA, sureB) * 180) / Math.PI - 45;
    return { k, id, outcome: 2 * Number(!rightA) + Number(!rightB), sureA, sureB, theta };
  });
}

function sampleParts(report, a, b) {
  if (!report.sample) return [];
  const sampled = sampledPair(report, a, b);
  const known = sampled.filter((each) => !Number.isNaN(each.theta));
  const histogram = known.length ? [thetaHistogram(known)] : [make("p", {}, "How sure these two are is not known.")];
  const [shown, all] = [thousands(sampled.length), thousands(report.examples)];
  const whole = sampled.length === report.examples;
  const basis = whole ? `All ${all} examples.` : `A fixed random sample of ${shown} of the ${all} examples.`;
  return [make("h3", {}, "Who is surer"), ...histogram, make("p", { class: "small" }, `${basis} ${THETA_TEXT}`),
    ...exampleParts(report, sampled, basis)];
}

/** The examples that exactly one gets right, where the other is surest of its mistake first. */
function exampleParts(report, sampled, basis) {
  const mistake = (each) => (each.outcome === 1 ? each.sureB : each.sureA);
  const rank = (each) => (Number.isNaN(mistake(each)) ? -1 : mistake(each));
  const apart = sampled.filter((each) => each.outcome === 1 || each.outcome === 2);
  const shown = apart.sort((one, other) => rank(other) - rank(one)).slice(0, MOST_EXAMPLES);
  const title = make("h3", {}, "Examples that exactly one gets right");
  if (!shown.length) return [title, make("p", {}, "There is none among these examples.")];
  const listed = shown.length < apart.length ? `the first ${shown.length} of ${thousands(apart.length)}` : `${apart.length}`;
  const order = make("p", { class: "small" }, `${basis} Listed: ${listed}, surest mistakes first.`);
  const ids = make("textarea", { readonly: "", rows: "2", "aria-label": "Ids of these examples" });
  ids.value = shown.map((each) => each.id).join("\n");
  const copy = make("button", { type: "button" }, "Copy ids");
  copy.addEventListener("click", () => copyText(ids, copy));
  const head = ["example", "right", "confidence of A", "confidence of B"].map((text) => make("th", { scope: "col" }, text));
  const rows = make("tbody", {}, ...shown.map((each) => exampleRow(report, each)));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), rows);
  const region = { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Examples" };
  return [title, order, make("p", { class: "copy" }, ids, copy), make("div", region, table)];
}

function exampleRow(report, each) {
  const name = make("td", { class: "name" }, make("bdi", {}, each.id));
  if (report.sample.images) {
    const image = `data:image/webp;base64,${report.sample.images[each.k]}`;
    name.prepend(make("img", { src: image, alt: "", class: "thumbnail" }));
  }
  const sure = [each.sureA, each.sureB].map((share) => make("td", {}, percent(share)));
  return make("tr", {}, name, make("td", {}, each.outcome === 1 ? "A" : "B"), ...sure);
}

/** Copies a text, or selects it where the browser allows no copying. */
async function copyText(area, button) {
  area.select();
  try {
    await navigator.clipboard.writeText(area.value);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Selected: press Ctrl-C";
  }
}
