"use strict";
// The card beside the picture: scores, prompt and demos of the point that is pointed at, or of the one that was chosen.
Offramp.peek = (state, id) => {
  const shown = id || state.chosen || state.best, member = shown && state.byId.get(shown);
  if (member) Offramp.showCard(state, member);
  else if (shown && state.likely.has(shown)) Offramp.showLikely(state.likely.get(shown));
};

// What is expected of a candidate that is not complete.
Offramp.showLikely = (one) => {
  const card = document.getElementById("selected");
  card.dataset.shown = one.id;
  const facts = Offramp.node("dl", {}, ...one.rows.flatMap(([name, value]) => [Offramp.node("dt", {}, name), Offramp.node("dd", {}, value)]));
  const links = Offramp.node("p", { class: "links" }, Offramp.node("a", { href: "#likely" }, "All estimates"));
  card.replaceChildren(Offramp.node("h3", {}, Offramp.text(one.label)), Offramp.node("p", {}, Offramp.node("span", { class: "id" }, one.id), " ", Offramp.node("span", { class: "badge off" }, "estimate")), facts, links);
  card.hidden = false;
};

Offramp.showCard = (state, member) => {
  const card = document.getElementById("selected"), words = member.words;
  const key = [member.id, state.best, Boolean(document.querySelector("#peeks template"))].join(" ");
  if (card.dataset.shown === key) return; // it may be clicked in just now
  card.dataset.shown = key;
  const rows = [["quality", `${words.quality} (${words.interval})`], ["holdout", words.holdout && `${words.holdout} (${words.holdout_interval})`], ["vs incumbent", words.against && `${words.against} (${words.against_interval})`], ["1,000 runs", words.cost],
    ...state.data.statistics.map((name) => [name, words[name]]), ["isolated", words.probe], ["on the holdout", member.off && (member.ahead.length ? ["dominated by ", ...Offramp.links(member.ahead.slice(0, 1)), member.ahead.length > 1 ? ` and ${member.ahead.length - 1} more` : ""] : "off the front")], ["limits", member.breaks.join("; ")], ["answers", member.notes.length && `${member.notes.length} ${member.notes.length === 1 ? "note" : "notes"} in the details`]].filter(([, value]) => value);
  const facts = Offramp.node("dl", {}, ...rows.flatMap(([name, value]) => [Offramp.node("dt", {}, name), Offramp.node("dd", {}, ...[value].flat())]));
  const links = Offramp.node("p", { class: "links" }, ...Offramp.cardLinks(state, member));
  const seen = document.querySelector(`#peeks template[data-peek="${CSS.escape(member.id)}"]`);
  const marks = [member.id === state.best && ["best", member.best], member.estimate && ["off", "estimate"], member.incumbent && ["today", "incumbent"]].filter(Boolean).flatMap(([kind, name]) => [" ", Offramp.node("span", { class: "badge " + kind }, name)]);
  card.replaceChildren(Offramp.node("h3", {}, Offramp.text(member.label)), Offramp.node("p", {}, Offramp.node("span", { class: "id" }, member.id), ...marks), facts, links, ...(seen ? [seen.content.cloneNode(true)] : []));
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

