"use strict";
// The sentence at the top, for whichever candidate is recommended now.
Offramp.showDecision = (decision) => {
  const put = (id, value) => { const at = document.getElementById(id); at.replaceChildren(Offramp.text(value || "")); at.hidden = !value; };
  put("decision-title", decision.title);
  put("decision-why", decision.why);
  put("decision-caution", decision.caution);
  const ahead = document.getElementById("decision-ahead");
  ahead.replaceChildren(...(decision.ahead.length ? ["On the holdout, ", ...Offramp.links(decision.ahead), ` ${decision.ahead.length > 1 ? "are" : "is"} at least as good in every objective and better in one.`] : []));
  ahead.hidden = !decision.ahead.length;
  const better = document.getElementById("decision-better"), last = decision.better.length - 1;
  const links = decision.better.flatMap((one, i) => [" ", ...Offramp.links([one]), `, ${one.gain}${i === last ? "." : ";"}`]);
  better.replaceChildren(...(links.length ? ["Shown to be better on the holdout:", ...links] : []));
  better.hidden = !links.length;
  document.getElementById("decision").className = "decision is-" + decision.kind;
  const tiles = document.getElementById("tiles");
  tiles.replaceChildren(...decision.tiles.map(Offramp.tile));
  tiles.hidden = !decision.tiles.length;
};

// Links to candidates, with commas between them.
Offramp.links = (candidates) => candidates.flatMap((one, i) => [...(i ? [", "] : []), Offramp.node("a", { href: Offramp.address(one.id) }, Offramp.text(one.label))]);

Offramp.tile = (tile) => {
  const value = Offramp.node("dd", {}, Offramp.node("strong", {}, tile.now));
  if (tile.before) value.append(" ", Offramp.node("span", { class: "before" }, "from " + tile.before));
  const mood = tile.good === true ? " good" : tile.good === false ? " bad" : "";
  if (tile.change) value.append(" ", Offramp.node("span", { class: "change" + mood }, tile.change));
  return Offramp.node("div", { class: "tile" }, Offramp.node("dt", {}, tile.name), value);
};

// A file has all decisions; the live page asks for them, and drops a late answer to an old question.
Offramp.decide = async (state, id) => {
  if (state.decided === id) return;
  state.decided = id;
  const known = state.data.decisions[id];
  if (known) return Offramp.showDecision(known);
  if (!Offramp.live()) return undefined;
  const reply = await fetch(Offramp.path("decision") + "?candidate=" + encodeURIComponent(id));
  if (!reply.ok) return undefined;
  state.data.decisions[id] = await reply.json();
  if (state.decided === id) Offramp.showDecision(state.data.decisions[id]);
  return undefined;
};
