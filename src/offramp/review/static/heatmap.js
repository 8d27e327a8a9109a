"use strict";
// Which candidate is right on which example. One path for each row and score keeps thousands of cells light.
Offramp.MAP = { label: 250, mean: 46, height: 18, least: 5, most: 18 };

Offramp.startMap = () => {
  const holder = document.getElementById("map-data"), picture = document.getElementById("map");
  if (!holder || picture.childNodes.length) return;
  const map = { ...JSON.parse(holder.textContent), picture, at: [0, 0] };
  map.rows = map.candidates.map((_, row) => row);
  map.columns = map.examples.map((_, column) => column);
  const value = (row, column) => { const code = map.cells[row][column]; return code === "-" ? null : code === "x" ? 0 : Number(code) / 9; };
  const mean = (values) => { const known = values.filter((one) => one !== null); return known.length ? known.reduce((a, b) => a + b, 0) / known.length : 0; };
  map.right = map.columns.map((column) => mean(map.rows.map((row) => value(row, column))));
  map.score = map.rows.map((row) => mean(map.columns.map((column) => value(row, column))));
  map.value = value;
  const sort = () => {
    const by = document.getElementById("map-columns").value, keys = { hard: (c) => map.right[c], data: (c) => c, split: (c) => Math.abs(map.right[c] - 0.5) };
    map.columns.sort((a, b) => keys[by](a) - keys[by](b) || a - b);
    const rows = document.getElementById("map-rows").value === "score" ? (r) => -map.score[r] : (r) => r;
    map.rows.sort((a, b) => rows(a) - rows(b) || a - b);
    Offramp.drawMap(map);
  };
  for (const id of ["map-rows", "map-columns"]) document.getElementById(id).addEventListener("change", sort);
  picture.addEventListener("pointermove", (event) => { const at = Offramp.mapCell(map, event); if (at) Offramp.pointMap(map, at); });
  picture.addEventListener("click", (event) => { const at = Offramp.mapCell(map, event); if (at) { Offramp.pointMap(map, at); Offramp.showAnswers(map); } });
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); Offramp.showAnswers(map); return; }
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const clamp = (n, end) => Math.min(end - 1, Math.max(0, n));
    Offramp.pointMap(map, [clamp(map.at[0] + step[0], map.rows.length), clamp(map.at[1] + step[1], map.columns.length)]);
  });
  sort();
};

Offramp.drawMap = (map) => {
  const { label, mean, height, least, most } = Offramp.MAP, room = map.picture.parentElement.clientWidth || 1072;
  const names = Math.min(label, room * 0.42);
  map.left = names + mean;
  map.cell = Math.min(most, Math.max(least, (room - map.left - 4) / map.columns.length));
  const wide = map.left + map.cell * map.columns.length + 2, high = map.rows.length * height + 2, parts = [];
  map.picture.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  map.picture.setAttribute("width", wide);
  map.picture.setAttribute("height", high);
  map.rows.forEach((row, y) => {
    const paths = {}, gap = map.cell > 7 ? 1 : 0;
    map.columns.forEach((column, x) => {
      const code = map.cells[row][column];
      if (code !== "-") paths[code] = (paths[code] || "") + `M${(map.left + x * map.cell).toFixed(1)} ${y * height + 1}h${(map.cell - gap).toFixed(1)}v${height - 2}h-${(map.cell - gap).toFixed(1)}z`;
    });
    const word = (x, text, kind) => { const made = Offramp.svg("text", { x, y: y * height + 13, class: kind }); made.textContent = text; parts.push(made); };
    const fits = Math.floor((names - 6) / 6.8), name = map.candidates[row].label;
    word(0, name.length > fits ? name.slice(0, fits - 1) + "\u2026" : name, "map-name");
    word(map.left - 8, Offramp.fraction(map.score[row], 2), "map-mean");
    for (const [code, d] of Object.entries(paths)) parts.push(Offramp.svg("path", { class: "c" + code, d }));
  });
  map.cursor = Offramp.svg("rect", { class: "map-cursor", width: map.cell, height });
  map.picture.replaceChildren(...parts, map.cursor);
  Offramp.pointMap(map, map.at);
};

Offramp.mapCell = (map, event) => {
  const box = map.picture.getBoundingClientRect(), x = Math.floor((event.clientX - box.left - map.left) / map.cell), y = Math.floor((event.clientY - box.top) / Offramp.MAP.height);
  return x >= 0 && y >= 0 && x < map.columns.length && y < map.rows.length ? [y, x] : null;
};

Offramp.pointMap = (map, [y, x]) => {
  map.at = [y, x];
  map.cursor.setAttribute("x", map.left + x * map.cell);
  map.cursor.setAttribute("y", y * Offramp.MAP.height);
  const row = map.rows[y], column = map.columns[x], score = map.value(row, column);
  const words = score === null ? "no score" : map.cells[row][column] === "x" ? "no usable answer" : "score " + Offramp.fraction(score, 2);
  document.getElementById("map-says").replaceChildren(Offramp.text(map.candidates[row].label), ", example ", Offramp.text(map.examples[column].id), `: ${words}; ${Offramp.percent(map.right[column])} right over all candidates`);
};

// Everybody's answers to one example, each with who gave it.
Offramp.showAnswers = (map) => {
  const place = document.getElementById("map-answers"), column = map.columns[map.at[1]], example = map.examples[column], chosen = map.rows[map.at[0]];
  const rows = example.answers.map(([answer, who]) => {
    const score = map.value(who[0], column), mark = score === null ? "" : map.cells[who[0]][column] === "x" ? " \u2717" : score > 1 - 1e-9 ? " \u2713" : score < 1e-9 ? " \u2717" : ` ${Offramp.fraction(score, 2)}`;
    const links = who.flatMap((number, i) => [i ? "; " : "", Offramp.node("a", { href: Offramp.address(map.candidates[number].id), ...(number === chosen ? { class: "this" } : {}) }, Offramp.text(map.candidates[number].label))]);
    return Offramp.node("tr", {}, Offramp.node("td", { dir: "auto", class: score > 0.99 ? "good" : "bad" }, answer + mark), Offramp.node("td", {}, ...links));
  });
  const head = Offramp.node("thead", {}, Offramp.node("tr", {}, Offramp.node("th", { scope: "col" }, "Answer"), Offramp.node("th", { scope: "col" }, "Candidates")));
  const table = Offramp.node("table", { class: "map-table" }, head, Offramp.node("tbody", {}, ...rows));
  const gold = example.gold ? [Offramp.node("p", {}, Offramp.node("span", { class: "key" }, "gold "), Offramp.text(example.gold))] : [];
  place.replaceChildren(Offramp.node("h3", {}, "Example ", Offramp.text(example.id)), Offramp.node("p", { class: "input", dir: "auto" }, example.input || "Its texts are not in this file."), ...gold, ...(rows.length ? [table] : []));
  place.hidden = false;
};
