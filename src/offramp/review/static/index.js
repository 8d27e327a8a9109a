"use strict";
// The list of studies: what is typed has to be in a study's name, headline or labels.
Offramp.startIndex = () => {
  const list = document.getElementById("studies"), search = document.getElementById("study-search");
  if (!list) return;
  document.getElementById("study-tools").hidden = false;
  const apply = () => {
    const words = search.value.trim().toLowerCase().split(/\s+/), items = [...list.children];
    for (const item of items) item.hidden = !words.every((word) => item.textContent.toLowerCase().includes(word));
    document.getElementById("study-count").textContent = `${items.filter((item) => !item.hidden).length} of ${items.length} shown`;
  };
  search.addEventListener("input", apply);
  apply();
};
