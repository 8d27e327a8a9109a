"use strict";
// The sentence at the top, for whichever candidate is recommended now.
Offramp.showVerdict = (verdict) => {
  const put = (id, value) => { const at = document.getElementById(id); at.replaceChildren(Offramp.text(value || "")); at.hidden = !value; };
  put("decision-title", verdict.title);
  put("decision-why", verdict.why);
  put("decision-caution", verdict.caution);
  document.getElementById("decision").className = "decision " + verdict.kind;
  const tiles = document.getElementById("tiles");
  tiles.replaceChildren(...verdict.tiles.map(Offramp.tile));
  tiles.hidden = !verdict.tiles.length;
};

Offramp.tile = (tile) => {
  const value = Offramp.node("dd", {}, Offramp.node("strong", {}, tile.now));
  if (tile.before) value.append(" ", Offramp.node("span", { class: "before" }, "from " + tile.before));
  const mood = tile.good === true ? " good" : tile.good === false ? " bad" : "";
  if (tile.change) value.append(" ", Offramp.node("span", { class: "change" + mood }, tile.change));
  return Offramp.node("div", { class: "tile" }, Offramp.node("dt", {}, tile.name), value);
};

// In a file the verdicts are there; the live page is asked, and a late answer to an old question is dropped.
Offramp.decide = async (state, id) => {
  if (state.decided === id) return;
  state.decided = id;
  const known = state.data.verdicts[id];
  if (known) return Offramp.showVerdict(known);
  if (!Offramp.live()) return undefined;
  const reply = await fetch(Offramp.path("verdict") + "?candidate=" + encodeURIComponent(id));
  if (!reply.ok) return undefined;
  state.data.verdicts[id] = await reply.json();
  if (state.decided === id) Offramp.showVerdict(state.data.verdicts[id]);
  return undefined;
};
