"use strict";
// Sorting, filtering and choosing two rows. Cells hold their number in data-v; unknown ones sort last.
Offramp.startTable = (state) => {
  const table = document.getElementById("table");
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => head.dataset.key && Offramp.sortable(table, head, index));
  document.querySelector("#candidates .tools").hidden = false;
  const search = document.getElementById("filter"), only = document.getElementById("only-front");
  const apply = () => Offramp.filterRows(table, search.value.trim().toLowerCase(), only.checked);
  search.addEventListener("input", apply);
  only.addEventListener("change", apply);
  table.tBodies[0].addEventListener("change", () => Offramp.chosenTwo(table));
  const two = document.getElementById("compare-two");
  if (two) two.addEventListener("click", () => Offramp.goCompare(Offramp.chosenTwo(table)));
  apply();
};

Offramp.sortable = (table, head, index) => {
  const button = Offramp.node("button", { type: "button" }, head.textContent);
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const small = ["cost", "latency", "p95"].includes(head.dataset.key) ? "ascending" : "descending";
    const other = small === "ascending" ? "descending" : "ascending";
    Offramp.sortRows(table, head, index, head.getAttribute("aria-sort") === small ? other : small);
  });
};

Offramp.sortRows = (table, head, index, order) => {
  for (const cell of head.parentElement.cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => (row.cells[index].dataset.v === "" ? null : Number(row.cells[index].dataset.v));
  const rows = [...table.tBodies[0].rows].map((row) => [row, value(row)]);
  rows.sort(([, a], [, b]) => (a === null ? 1 : b === null ? -1 : sign * (a - b)));
  table.tBodies[0].append(...rows.map(([row]) => row));
};

Offramp.filterRows = (table, words, frontOnly) => {
  let count = 0;
  for (const row of table.tBodies[0].rows) {
    row.hidden = (frontOnly && !row.classList.contains("front")) || !words.split(/\s+/).every((w) => row.textContent.toLowerCase().includes(w));
    count += row.hidden ? 0 : 1;
  }
  document.getElementById("shown-count").textContent = `${count} of ${table.tBodies[0].rows.length} shown`;
};

Offramp.chosenTwo = (table) => {
  const chosen = [...table.querySelectorAll("td.choose input:checked")].map((box) => box.value);
  const two = document.getElementById("compare-two");
  if (two) two.disabled = chosen.length !== 2;
  return chosen;
};

Offramp.goCompare = ([a, b]) => {
  location.href = `${Offramp.path("compare")}?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`;
};
