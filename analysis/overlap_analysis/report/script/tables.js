"use strict";
// The table of variants: sorted by a click on a heading, filtered by words.

function makeVariantTable(root) {
  const table = root.querySelector("table");
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => sortRows(table, rows, heads, column));
  });
  const words = root.querySelector(".filter");
  words.addEventListener("input", () => filterRows(root, rows, words.value));
  root.querySelector(".keys").addEventListener("change", (event) => table.classList.toggle("with-keys", event.target.checked));
  filterRows(root, rows, words.value);
}

/** A cell's number where its heading says so, else its text; unknown numbers come last. */
function cellValue(row, column, numeric) {
  const cell = row.cells[column];
  if (!numeric) return cell.textContent.trim();
  const value = Number.parseFloat(cell.dataset.value ?? "");
  return Number.isNaN(value) ? null : value;
}

function sortRows(table, rows, heads, column) {
  const numeric = heads[column].classList.contains("number");
  const before = heads[column].getAttribute("aria-sort");
  const rising = before ? before === "descending" : heads[column].dataset.first !== "descending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
  const keyed = rows.map((row, place) => ({ row, place, value: cellValue(row, column, numeric) }));
  const compare = (one, other) => (numeric ? one - other : byText(one, other));
  keyed.sort((one, other) => {
    if (one.value === null || other.value === null) return (one.value === null) - (other.value === null);
    return (rising ? 1 : -1) * compare(one.value, other.value) || one.place - other.place;
  });
  table.tBodies[0].append(...keyed.map(({ row }) => row));
}

/** Shows the rows that hold all words, whatever their case. */
function filterRows(root, rows, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const own = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => own.includes(word));
    shown += Number(!row.hidden);
  }
  root.querySelector(".shown").textContent = `${thousands(shown)} of ${thousands(rows.length)} shown`;
}
