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
  if (state.tab === "space") Offramp.drawSpace(state);
};

Offramp.showCard = (state, member) => {
  const card = document.getElementById("selected"), words = member.words;
  const rows = [["quality", `${words.quality} (${words.interval})`], ["holdout", words.holdout && `${words.holdout} (${words.holdout_interval})`], ["vs incumbent", words.against && `${words.against} (${words.against_interval})`], ["1,000 runs", words.cost],
    ["p50", words.latency], ["p95", words.p95], ["isolated", words.probe], ["on the holdout", member.front && member.off && "off the front"], ["limits", member.breaks.join("; ")], ["answers", (member.notes || []).join("; ")]].filter(([, value]) => value);
  const facts = Offramp.node("dl", {}, ...rows.flatMap(([name, value]) => [Offramp.node("dt", {}, name), Offramp.node("dd", {}, value)]));
  const links = Offramp.node("p", { class: "links" }, ...Offramp.cardLinks(state, member));
  card.replaceChildren(Offramp.node("h3", {}, Offramp.text(member.label)), Offramp.node("span", { class: "id" }, member.id), facts, links);
  card.hidden = false;
};

Offramp.cardLinks = (state, member) => {
  const today = state.data.incumbent, links = [];
  if (Offramp.live()) {
    links.push(Offramp.node("a", { href: Offramp.path("candidates", member.id) }, "Details"));
    if (today && today !== member.id) links.push(Offramp.node("a", { href: `${Offramp.path("compare")}?a=${encodeURIComponent(member.id)}&b=${encodeURIComponent(today)}` }, "Compare with the incumbent"));
  } else if (document.getElementById("c-" + member.id)) {
    links.push(Offramp.node("a", { href: "#c-" + member.id }, "Details, with wins and losses"));
  }
  return links;
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
