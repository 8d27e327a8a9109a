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

Offramp.startDots = (state) => {
  for (const dot of document.querySelectorAll(".dot")) {
    dot.addEventListener("click", () => Offramp.choose(state, dot.dataset.id));
    dot.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      Offramp.choose(state, dot.dataset.id);
    });
  }
};

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
