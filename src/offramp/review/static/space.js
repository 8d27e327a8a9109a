"use strict";
// The front in three dimensions: cost to the right, latency to the back, quality up. Drawn as SVG, rotated by hand.
Offramp.spaceScale = (values) => {
  const low = Math.min(...values), high = Math.max(...values), log = low > 0 && high / low >= 12;
  const f = log ? Math.log : (x) => x;
  const a = f(low), b = f(high) > a ? f(high) : a + 1;
  return { low, high, at: (value) => (2 * (f(value) - a)) / (b - a) - 1 };
};

Offramp.spacePoints = (state) => {
  if (state.space) return state.space;
  const known = state.data.members.filter((m) => m.quality !== null && m.cost !== null && m.latency !== null);
  const heights = known.flatMap((m) => (m.front && m.interval ? m.interval : [m.quality]));
  const scales = { x: Offramp.spaceScale(known.map((m) => m.cost)), y: Offramp.spaceScale(known.map((m) => m.latency)), z: Offramp.spaceScale(heights) };
  const linear = (value) => (2 * (value - scales.z.low)) / (scales.z.high - scales.z.low || 1) - 1;
  const points = known.map((m) => ({ member: m, at: [scales.x.at(m.cost), scales.y.at(m.latency), linear(m.quality)], bar: m.interval && (m.front || m.incumbent) ? m.interval.map(linear) : null }));
  const ends = (key, by) => { const sorted = [...known].sort((a, b) => by(a) - by(b)); return [sorted[0], sorted[sorted.length - 1]].map((m) => m.words[key]); };
  state.space = { points, cost: ends("cost", (m) => m.cost), latency: ends("latency", (m) => m.latency), quality: [scales.z.low, scales.z.high].map((v) => Offramp.fraction(v, 2)) };
  return state.space;
};

Offramp.project = (state, [x, y, z]) => {
  const [yaw, pitch] = state.turn, cos = Math.cos(yaw), sin = Math.sin(yaw);
  const across = x * cos - y * sin, deep = x * sin + y * cos;
  return [360 + 165 * across, 205 - 130 * z * Math.cos(pitch) + 165 * deep * Math.sin(pitch) * -1, deep];
};

Offramp.drawSpace = (state) => {
  const picture = document.getElementById("space");
  if (!picture) return;
  const { points, cost, latency, quality } = Offramp.spacePoints(state);
  const flat = (at) => Offramp.project(state, at), parts = [];
  const line = (from, to, kind) => { const [a, b] = [flat(from), flat(to)]; parts.push(Offramp.svg("line", { class: kind, x1: a[0], y1: a[1], x2: b[0], y2: b[1] })); };
  for (const [from, to] of Offramp.cube()) line(from, to, from[2] < 0 && to[2] < 0 ? "axis" : "edge");
  const word = (at, text, anchor) => { const [x, y] = flat(at), made = Offramp.svg("text", { x, y, "text-anchor": anchor }); made.textContent = text; parts.push(made); };
  word([-0.9, -1.2, -1.16], cost[0], "middle"); word([0, -1.25, -1.2], "cost of 1,000 runs", "middle"); word([0.78, -1.2, -1.16], cost[1], "middle");
  word([1.14, -0.72, -1.08], latency[0], "start"); word([1.24, 0, -1.1], "latency", "start"); word([1.14, 0.85, -1.08], latency[1], "start");
  word([-1.1, -1.02, -1], quality[0], "end"); word([-1.1, -1.02, 0.06], "quality", "end"); word([-1.1, -1.02, 1], quality[1], "end");
  const drawn = points.map((point) => ({ ...point, flat: flat(point.at) })).sort((a, b) => b.flat[2] - a.flat[2]);
  for (const point of drawn) Offramp.drawPoint(state, point, line, parts);
  picture.replaceChildren(...parts);
};

Offramp.cube = () => {
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]], edges = [];
  corners.forEach(([x, y], i) => {
    const [u, v] = corners[(i + 1) % 4];
    edges.push([[x, y, -1], [u, v, -1]], [[x, y, -1], [x, y, 1]]);
  });
  return edges;
};

Offramp.drawPoint = (state, point, line, parts) => {
  const { member, at } = point, special = member.front || member.incumbent;
  if (special) line(at, [at[0], at[1], -1], "stem");
  if (point.bar) line([at[0], at[1], point.bar[0]], [at[0], at[1], point.bar[1]], "bar");
  const kinds = ["p", member.incumbent && "incumbent", !special && "other", member.id === state.best && "best", member.id === state.chosen && "chosen"];
  const [x, y] = point.flat, name = kinds.filter(Boolean).join(" ");
  if (member.id === state.best) parts.push(Offramp.svg("circle", { class: "ring", cx: x, cy: y, r: 11 }));
  const made = member.incumbent ? Offramp.svg("path", { class: name, d: `M${x} ${y - 8}L${x + 8} ${y}L${x} ${y + 8}L${x - 8} ${y}Z`, "data-id": member.id })
    : Offramp.svg("circle", { class: name, cx: x, cy: y, r: special ? 6 : 3.2, "data-id": member.id });
  const title = Offramp.svg("title");
  title.textContent = `${member.label}: ${member.words.quality}, ${member.words.cost}, ${member.words.latency}`;
  made.append(title);
  parts.push(made);
};

Offramp.startSpace = (state) => {
  const picture = document.getElementById("space");
  if (!picture) return;
  state.turn = state.turn || [-0.5, 0.42];
  const turn = (dx, dy) => { state.turn = [state.turn[0] + dx, Math.min(1.35, Math.max(0.05, state.turn[1] + dy))]; Offramp.drawSpace(state); };
  let from = null, moved = false;
  picture.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; moved = false; });
  picture.addEventListener("pointermove", (event) => {
    if (!from) return;
    moved = moved || Math.hypot(event.clientX - from[0], event.clientY - from[1]) > 3;
    if (!moved) return;
    picture.setPointerCapture(event.pointerId);
    turn((event.clientX - from[0]) / 160, (event.clientY - from[1]) / 160);
    from = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { from = null; });
  picture.addEventListener("click", (event) => { if (!moved && event.target.dataset.id) Offramp.choose(state, event.target.dataset.id); });
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    if (step) { event.preventDefault(); turn(...step); }
  });
};
