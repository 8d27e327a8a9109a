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
    const small = ["cost", "mean", "p50", "p90", "p95"].includes(head.dataset.key) ? "ascending" : "descending";
    const other = small === "ascending" ? "descending" : "ascending";
    Offramp.sortRows(table, head, index, head.getAttribute("aria-sort") === small ? other : small);
  });
};

Offramp.sortRows = (table, head, index, order) => {
  for (const cell of head.parentElement.cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => (row.cells[index].dataset.v === "" ? null : Number(row.cells[index].dataset.v));
  const rows = [...table.tBodies[0].rows].map((row) => [row, value(row), Number(row.querySelector(".utility").dataset.v)]);
  const tie = ([one, , u], [other, , v]) => v - u || (one.dataset.id < other.dataset.id ? -1 : 1);
  rows.sort((one, other) => (one[1] === other[1] ? tie(one, other) : one[1] === null ? 1 : other[1] === null ? -1 : sign * (one[1] - other[1])));
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

// How a person has arranged the table, to restore it in a new one.
Offramp.tableState = () => {
  const table = document.getElementById("table");
  if (!table) return null;
  const head = table.tHead.querySelector("[aria-sort]");
  return { words: document.getElementById("filter").value, front: document.getElementById("only-front").checked, chosen: Offramp.chosenTwo(table), key: head && head.dataset.key, order: head && head.getAttribute("aria-sort") };
};

Offramp.restoreTable = (kept) => {
  const table = document.getElementById("table");
  if (!kept || !table) return;
  document.getElementById("filter").value = kept.words;
  document.getElementById("only-front").checked = kept.front;
  for (const box of table.querySelectorAll("td.choose input")) box.checked = kept.chosen.includes(box.value);
  Offramp.chosenTwo(table);
  const heads = [...table.tHead.rows[0].cells], at = heads.findIndex((head) => head.dataset.key === kept.key);
  if (kept.key && at >= 0) Offramp.sortRows(table, heads[at], at, kept.order);
  document.getElementById("filter").dispatchEvent(new Event("input"));
};

Offramp.chosenTwo = (table) => {
  const chosen = [...table.querySelectorAll("td.choose input:checked")].map((box) => box.value);
  const two = document.getElementById("compare-two");
  if (two) two.disabled = chosen.length !== 2;
  return chosen;
};

// The incumbent is B: a comparison shows what changes when A replaces B.
Offramp.goCompare = (chosen) => {
  const [a, b] = chosen[0] === Offramp.data().incumbent ? [chosen[1], chosen[0]] : chosen;
  location.href = `${Offramp.path("compare")}?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`;
};
