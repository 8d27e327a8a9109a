"use strict";
// Utility, ranking and recommendation, as study/domain/ has them: the weighted mean of the scaled
// values; equal utilities (to nine digits) go by quality, then cost, then id.
Offramp.utility = (member, weights) => {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (!member.scaled || !(total > 0)) return null;
  return member.scaled.reduce((sum, value, index) => sum + weights[index] * value, 0) / total;
};

Offramp.ranked = (members, weights) => {
  const rated = members.map((member) => ({ member, utility: Offramp.utility(member, weights) }));
  const key = ({ utility }) => (utility === null ? -1 : Math.round(utility * 1e9));
  return rated.sort((a, b) =>
    key(b) - key(a) || (b.member.quality || 0) - (a.member.quality || 0) || (a.member.cost || 0) - (b.member.cost || 0) ||
    (a.member.id < b.member.id ? -1 : 1));
};

Offramp.recommended = (members, weights) => {
  const front = Offramp.ranked(members.filter((member) => member.front && member.scaled), weights);
  return front.length && front[0].utility !== null ? front[0].member : null;
};
