"use strict";
// Starts all parts on the current content; called again when the live page has new content.
Offramp.rank = (state) => {
  const objectives = state.data.objectives;
  const weights = state.weights || objectives.map((objective) => objective.weight);
  const best = Offramp.recommended(state.data.members, weights);
  state.best = best ? best.id : null;
  for (const row of document.querySelectorAll("#table tbody tr")) Offramp.showUtility(row, state, weights);
  const table = document.getElementById("table");
  const sorted = table && table.tHead.querySelector("[aria-sort]");
  if (table && (!sorted || sorted.dataset.key === "utility")) Offramp.orderByUtility(table, state, weights);
  Offramp.showRanking(state, weights);
  Offramp.markBest(state, state.best);
  if (best) Offramp.decide(state, best.id);
  if (!state.chosen) Offramp.peek(state, null);
  if (state.tab === "space") Offramp.drawSpace(state);
};

Offramp.showUtility = (row, state, weights) => {
  const utility = Offramp.utility(state.byId.get(row.dataset.id), weights), cell = row.querySelector(".utility");
  cell.dataset.v = utility === null ? "" : utility;
  cell.textContent = Offramp.number(utility);
};

Offramp.orderByUtility = (table, state, weights) => {
  const order = Offramp.ranked(state.data.members, weights).map(({ member }) => member.id);
  const rows = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.id, row]));
  table.tBodies[0].append(...order.map((id) => rows.get(id)).filter(Boolean));
};

Offramp.showRanking = (state, weights) => {
  const front = Offramp.ranked(state.data.members.filter((member) => member.front), weights).slice(0, 5);
  document.getElementById("ranking").replaceChildren(...front.map(({ member, utility }) => {
    const pick = Offramp.node("button", { type: "button", class: "pick", title: member.label }, Offramp.text(member.label));
    pick.addEventListener("click", () => Offramp.choose(state, member.id));
    return Offramp.node("li", { "data-id": member.id }, pick, Offramp.node("span", { class: "num" }, Offramp.number(utility)));
  }));
};

Offramp.startWeights = (state) => {
  const form = document.getElementById("weights"), sliders = [...form.querySelectorAll("input[type=range]")];
  const words = () => sliders.forEach((slider) => { slider.nextElementSibling.textContent = slider.value + "%"; slider.setAttribute("aria-valuetext", slider.value + " percent"); });
  if (state.weights) sliders.forEach((slider, index) => { slider.value = Math.round(100 * state.weights[index]); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    if (!sliders.some((slider) => Number(slider.value) > 0)) return words();
    state.weights = sliders.map((slider) => Number(slider.value) / 100);
    words();
    Offramp.rank(state);
    return Offramp.keepWeights(state);
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state.weights = null;
    const own = state.data.own_weights, total = own.reduce((sum, weight) => sum + weight, 0);
    state.data.objectives.forEach((objective, index) => { objective.weight = own[index]; });
    sliders.forEach((slider, index) => { slider.value = Math.round((100 * own[index]) / total); });
    words();
    Offramp.rank(state);
    Offramp.keepWeights(state);
  });
  words();
};

// In the live page the address keeps the weights, so that a reload, or a colleague, sees the same.
Offramp.keepWeights = (state) => {
  if (!Offramp.live()) return;
  const words = state.weights && state.data.objectives.map((objective, index) => `${objective.name}=${state.weights[index]}`).join(",");
  history.replaceState(null, "", location.pathname + (words ? "?weights=" + words : "") + location.hash);
};

Offramp.openTarget = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); target.querySelector("summary").focus({ preventScroll: true }); }
};

Offramp.start = (state) => {
  state.data = Offramp.data();
  if (!state.data || !state.data.members.length) return;
  state.byId = new Map(state.data.members.map((member) => [member.id, member]));
  state.likely = new Map((state.data.likely || []).map((one) => [one.id, one]));
  state.decided = state.data.recommended;
  Offramp.startTable(state);
  Offramp.startSpace(state);
  Offramp.startTabs(state);
  Offramp.startSplit(state);
  Offramp.startDots(state);
  Offramp.startPicks(state);
  Offramp.startUnder(state);
  Offramp.startParallel(state);
  Offramp.startWeights(state);
  Offramp.rank(state);
  if (state.chosen) Offramp.choose(state, state.chosen);
  Offramp.peek(state, null);
  Offramp.state = state;
};

window.addEventListener("hashchange", Offramp.openTarget);
Offramp.start({});
Offramp.startLive();
Offramp.startFilters();
Offramp.loadCourse();
Offramp.loadPeeks();
Offramp.loadPictures();
Offramp.loadDemos();
Offramp.startCopy();
Offramp.startIndex();
Offramp.openTarget();
