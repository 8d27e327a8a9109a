"use strict";
// The best member of the front within limits of cost and time, as `--pick under:` in study/policies.py chooses it.
Offramp.under = (members, cost, seconds) => {
  const keeps = (value, limit) => limit === null || (value !== null && value <= limit * (1 + 1e-9));
  const fitting = members.filter((member) => member.front && keeps(member.cost, cost) && keeps(member.latency, seconds));
  const price = (member) => (member.cost === null ? Infinity : member.cost);
  fitting.sort((a, b) => (b.quality || 0) - (a.quality || 0) || price(a) - price(b) || (a.id < b.id ? -1 : 1));
  return fitting;
};

Offramp.startUnder = (state) => {
  const place = document.getElementById("under");
  if (!place) return;
  const [cost, seconds] = place.querySelectorAll("input"), found = document.getElementById("under-found");
  place.hidden = false;
  if (state.under) [cost.value, seconds.value] = state.under;
  const limit = (field, unit) => (field.value === "" || !field.validity.valid ? null : Number(field.value) / unit);
  const show = () => {
    state.under = [cost.value, seconds.value];
    const limits = [limit(cost, 1000), limit(seconds, 1)];
    found.replaceChildren();
    if (limits.every((value) => value === null)) return;
    const fitting = Offramp.under(state.data.members, ...limits), best = fitting[0];
    if (!best) { found.append("none ", Offramp.node("span", { class: "hint" }, "No candidate on the front is known to be within these limits.")); return; }
    const pick = Offramp.node("button", { type: "button", class: "pick", "data-pick": best.id }, Offramp.text(best.label));
    pick.addEventListener("click", () => Offramp.choose(state, best.id));
    const which = fitting.length === 1 ? "It is the only one on the front within these limits" : `It has the best quality of the ${fitting.length} on the front within these limits`;
    found.append(pick, " ", Offramp.node("span", { class: "hint" }, `${which} (${best.words.quality}).`));
  };
  for (const field of [cost, seconds]) field.addEventListener("input", show);
  show();
};
