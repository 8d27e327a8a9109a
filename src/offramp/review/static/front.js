"use strict";
// The charts: which one is shown, which point is chosen, which one is recommended.
Offramp.startTabs = (state) => {
  const list = document.querySelector(".tabs");
  if (!list) return;
  const tabs = [...list.querySelectorAll("[role=tab]")];
  list.hidden = tabs.length < 2;
  const show = (key, focus) => {
    state.tab = key;
    for (const tab of tabs) {
      const on = tab.dataset.tab === key;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
      if (on && focus) tab.focus();
    }
    for (const sheet of document.querySelectorAll(".sheet")) sheet.hidden = sheet.dataset.sheet !== key;
    const split = document.getElementById("split-switch");
    if (split) split.hidden = key === "space";
    if (key === "space") Offramp.drawSpace(state);
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => show(tab.dataset.tab, false));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show(tabs[(index + step + tabs.length) % tabs.length].dataset.tab, true);
    });
  });
  show(tabs.some((tab) => tab.dataset.tab === state.tab) ? state.tab : tabs[0].dataset.tab, false);
};

// The search split, the holdout, or both with arrows: the style sheet shows what `data-split` says.
Offramp.startSplit = (state) => {
  const switched = document.getElementById("split-switch"), picture = document.getElementById("picture");
  if (!switched) return;
  switched.hidden = false;
  const show = (split) => { state.split = split; picture.dataset.split = split; };
  for (const box of switched.querySelectorAll("input")) {
    box.checked = box.value === (state.split || "search");
    box.addEventListener("change", () => show(box.value));
  }
  show(state.split || "search");
};

// The points of a chart are one stop of the Tab key: arrows go from point to point, from left to right.
Offramp.startDots = (state) => {
  for (const chart of document.querySelectorAll("svg.front")) {
    const dots = [...chart.querySelectorAll(".dot")].sort((a, b) => Offramp.across(a) - Offramp.across(b));
    const seen = () => dots.filter((dot) => dot.getClientRects().length);
    const stop = (dot) => { for (const other of dots) other.tabIndex = other === dot ? 0 : -1; };
    if (dots.length) stop(dots.find((dot) => dot.classList.contains("best")) || dots[0]);
    for (const dot of dots) {
      for (const event of ["pointerenter", "focus"]) dot.addEventListener(event, () => Offramp.peek(state, dot.dataset.id));
      for (const event of ["pointerleave", "blur"]) dot.addEventListener(event, () => Offramp.peek(state, null));
      dot.addEventListener("click", () => { stop(dot); Offramp.choose(state, dot.dataset.id); });
      dot.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); Offramp.choose(state, dot.dataset.id); return; }
        const all = seen(), at = all.indexOf(dot), step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : step ? (at + step + all.length) % all.length : -1;
        if (to < 0) return;
        event.preventDefault();
        stop(all[to]);
        all[to].focus();
      });
    }
  }
};

Offramp.across = (dot) => Number(dot.querySelector(".hit").getAttribute("cx"));

Offramp.startPicks = (state) => {
  for (const button of document.querySelectorAll("[data-pick]")) button.addEventListener("click", () => Offramp.choose(state, button.dataset.pick));
};

Offramp.choose = (state, id) => {
  state.chosen = id;
  for (const item of document.querySelectorAll(".dot, #table tbody tr")) item.classList.toggle("chosen", item.dataset.id === id);
  const member = state.data.members.find((one) => one.id === id);
  if (member) Offramp.showCard(state, member);
  else if (state.likely.has(id)) Offramp.showLikely(state.likely.get(id));
  if (state.tab === "space") Offramp.drawSpace(state);
};

Offramp.markBest = (state, id) => {
  for (const dot of document.querySelectorAll(".dot")) dot.classList.toggle("best", dot.dataset.id === id);
  for (const row of document.querySelectorAll("#table tbody tr")) {
    row.classList.toggle("best", row.dataset.id === id);
    const name = row.querySelector("th.name"), old = name.querySelector("[data-badge=best]");
    if (row.dataset.id === id && !old) name.append(" ", Offramp.node("span", { class: "badge best", "data-badge": "best" }, state.data.members.find((m) => m.id === id).best));
    if (row.dataset.id !== id && old) old.remove();
  }
};
