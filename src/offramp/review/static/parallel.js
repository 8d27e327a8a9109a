"use strict";
// Parallel coordinates: one line for each candidate over the params that vary and the objectives. What is brushed on an
// axis, or ticked in a list, keeps the candidates that fit; the others fade here, in the front's pictures and the table.
Offramp.PLOT = { width: 1072, height: 300, top: 34, bottom: 26, side: 70 };
Offramp.MEASURES = [["quality", "quality", 1, false], ["cost", "$/1k runs", 1000, true], ["latency", "seconds", 1, true]];

Offramp.startParallel = (state) => {
  const picture = document.getElementById("parallel");
  if (!picture) return;
  document.getElementById("params").hidden = false;
  state.brush = state.brush || {};
  state.axes = Offramp.axesOf(state.data.members);
  Offramp.drawParallel(state, picture);
  Offramp.fillChoices(state);
  picture.addEventListener("pointerdown", (event) => Offramp.beginBrush(state, picture, event));
  document.getElementById("brush-clear").addEventListener("click", () => { state.brush = {}; Offramp.fillChoices(state); Offramp.applyBrush(state); });
  Offramp.applyBrush(state);
};

// A param with several values: its values from bottom to top. An objective: a scale, logarithmic where it spans much.
Offramp.axesOf = (members) => {
  const { height, top, bottom } = Offramp.PLOT, low = height - bottom, axes = [];
  for (const name of Object.keys(members[0].params)) {
    const values = [...new Set(members.map((member) => member.params[name] ?? "none"))].sort((a, b) => (isNaN(a) || isNaN(b) ? (a < b ? -1 : 1) : a - b));
    if (values.length < 2 || values.length > 12) continue;
    const at = (value) => low - ((low - top) * (values.indexOf(value) + 0.5)) / values.length;
    axes.push({ name, title: name, values, of: (member) => member.params[name] ?? "none", at });
  }
  const measures = Offramp.MEASURES.map(([name, title, unit, log]) => {
    const known = members.map((member) => member[name]).filter((value) => value !== null);
    if (!known.length) return null;
    const least = Math.min(...known), most = Math.max(...known), f = log && least > 0 && most / least >= 12 ? Math.log : (x) => x;
    const span = f(most) - f(least) || 1;
    return { name, title, ends: [least * unit, most * unit], of: (member) => member[name], at: (value) => low - ((low - top) * (f(value) - f(least))) / span };
  });
  return [...axes.slice(-6), ...measures.filter(Boolean)];
};

Offramp.drawParallel = (state, picture) => {
  const { width, height, top, bottom, side } = Offramp.PLOT, gap = (width - 2 * side) / Math.max(1, state.axes.length - 1), parts = [];
  const word = (x, y, text, kind) => { const made = Offramp.svg("text", { x, y, class: kind }); made.textContent = text.length > 18 ? text.slice(0, 17) + "\u2026" : text; parts.push(made); };
  state.axes.forEach((axis, i) => { axis.x = side + i * gap; });
  const order = [...state.data.members].sort((a, b) => Number(a.front) - Number(b.front));
  for (const member of order) {
    const known = state.axes.filter((axis) => axis.of(member) !== null);
    const d = known.map((axis, i) => `${i ? "L" : "M"}${axis.x.toFixed(1)} ${axis.at(axis.of(member)).toFixed(1)}`).join("");
    const line = Offramp.svg("path", { d, class: ["thread", member.front && "front", member.incumbent && "incumbent", member.estimate && "estimate"].filter(Boolean).join(" "), "data-id": member.id });
    line.addEventListener("pointerenter", () => Offramp.peek(state, member.id));
    line.addEventListener("click", () => Offramp.choose(state, member.id));
    parts.push(line);
  }
  for (const axis of state.axes) {
    parts.push(Offramp.svg("line", { class: "axis", x1: axis.x, x2: axis.x, y1: top, y2: height - bottom }));
    word(axis.x, 14, axis.title, "axis-title");
    if (axis.values) for (const value of axis.values) word(axis.x + 6, axis.at(value) + 4, value, "axis-value");
    else { word(axis.x, height - 8, Offramp.end(axis, 0), "axis-end"); word(axis.x, top - 6, Offramp.end(axis, 1), "axis-end"); }
    axis.mark = Offramp.svg("rect", { class: "brush", x: axis.x - 7, width: 14, y: 0, height: 0 });
    parts.push(axis.mark);
  }
  picture.replaceChildren(...parts);
};

Offramp.end = (axis, at) => (axis.name === "quality" ? Offramp.fraction(axis.ends[at], 2) : Offramp.short(axis.ends[at]));
Offramp.short = (value) => (value >= 100 ? value.toFixed(0) : Number(value.toPrecision(2)).toString());

// Dragging along an axis keeps what is between both ends; a click on an axis takes the brush away.
Offramp.beginBrush = (state, picture, event) => {
  const box = picture.getBoundingClientRect(), scale = Offramp.PLOT.width / box.width, x = (event.clientX - box.left) * scale;
  const axis = state.axes.find((one) => Math.abs(one.x - x) < 16);
  if (!axis) return;
  event.preventDefault();
  const from = (event.clientY - box.top) * scale;
  const move = (other) => {
    const to = (other.clientY - box.top) * scale;
    if (Math.abs(to - from) < 4) delete state.brush[axis.name];
    else {
      const ends = [Math.min(from, to), Math.max(from, to)];
      state.brush[axis.name] = axis.values ? { values: axis.values.filter((value) => axis.at(value) >= ends[0] && axis.at(value) <= ends[1]) } : { ends };
    }
    Offramp.applyBrush(state);
  };
  const end = (other) => { move(other); window.removeEventListener("pointermove", move); window.removeEventListener("pointerup", end); Offramp.fillChoices(state); };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
};

Offramp.fits = (state, member) => state.axes.every((axis) => {
  const brush = state.brush[axis.name], value = axis.of(member);
  if (!brush) return true;
  if (brush.values) return brush.values.includes(value);
  return value !== null && axis.at(value) >= brush.ends[0] && axis.at(value) <= brush.ends[1];
});

Offramp.applyBrush = (state) => {
  const keep = new Set(state.data.members.filter((member) => Offramp.fits(state, member)).map((member) => member.id));
  const all = keep.size === state.data.members.length;
  for (const item of document.querySelectorAll(".dot, .thread, .slice-dot, #table tbody tr")) item.classList.toggle("faded", !all && !keep.has(item.dataset.id));
  for (const axis of state.axes) {
    const brush = state.brush[axis.name], places = brush && brush.values ? brush.values.map(axis.at) : null;
    const ends = brush && (brush.ends || (places.length ? [Math.min(...places) - 10, Math.max(...places) + 10] : [0, 0]));
    axis.mark.setAttribute("y", ends ? ends[0] : 0);
    axis.mark.setAttribute("height", ends ? ends[1] - ends[0] : 0);
  }
  document.getElementById("brush-clear").disabled = all;
  document.getElementById("brush-count").textContent = `${keep.size} of ${state.data.members.length} candidates, ${state.data.members.filter((m) => m.front && keep.has(m.id)).length} of the front`;
};

// The same choice by keys: the values of each param as boxes to tick, and the quality of each candidate by value.
Offramp.fillChoices = (state) => {
  const place = document.getElementById("slice-plots"), kept = document.activeElement && document.activeElement.dataset.brush;
  place.replaceChildren(...state.axes.filter((axis) => axis.values).map((axis) => Offramp.slicePlot(state, axis)));
  const again = kept && [...place.querySelectorAll("input")].find((box) => box.dataset.brush === kept);
  if (again) again.focus();
  Offramp.applyBrush(state);
};

Offramp.slicePlot = (state, axis) => {
  const quality = state.axes.find((one) => one.name === "quality"), rows = axis.values.map((value) => {
    const chosen = !state.brush[axis.name] || (state.brush[axis.name].values || []).includes(value);
    const box = Offramp.node("input", { type: "checkbox", "data-brush": `${axis.name} ${value}` });
    box.checked = chosen;
    box.addEventListener("change", () => {
      const old = state.brush[axis.name] ? state.brush[axis.name].values : axis.values, values = axis.values.filter((one) => (one === value ? box.checked : old.includes(one)));
      if (values.length === axis.values.length) delete state.brush[axis.name];
      else state.brush[axis.name] = { values };
      Offramp.applyBrush(state);
    });
    const picture = Offramp.svg("svg", { viewBox: "0 0 200 16", "aria-hidden": "true" });
    const { height, top, bottom } = Offramp.PLOT;
    state.data.members.filter((member) => axis.of(member) === value && member.quality !== null).forEach((member, i) => {
      const x = 6 + (188 * (height - bottom - quality.at(member.quality))) / (height - bottom - top);
      picture.append(Offramp.svg("circle", { class: "slice-dot" + (member.front ? " front" : ""), "data-id": member.id, cx: x.toFixed(1), cy: 5 + ((i * 5) % 8), r: 3 }));
    });
    return Offramp.node("label", {}, box, Offramp.node("span", {}, Offramp.text(value)), picture);
  });
  return Offramp.node("fieldset", { class: "slice-plot" }, Offramp.node("legend", {}, Offramp.text(axis.title)), ...rows);
};
