"use strict";
// What the other files share. Texts are put into elements as text, never as markup.
const Offramp = {};

Offramp.node = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

Offramp.svg = (name, attributes = {}) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// A text of others, in a separate element, so that its reading direction ends with it.
Offramp.text = (value) => Offramp.node("bdi", {}, value);

Offramp.data = () => {
  const holder = document.getElementById("data");
  return holder ? JSON.parse(holder.textContent) : null;
};

// As Python rounds: what is exactly between two ends in an even digit.
Offramp.rounded = (value, digits) => {
  const twice = value * 2 ** (digits + 1), power = 10 ** digits;
  if (!Number.isInteger(twice) || twice % 2 === 0) return value.toFixed(digits);
  const below = Math.floor(value * power);
  return ((below % 2 === 0 ? below : below + 1) / power).toFixed(digits);
};

// A value in 0..1 as `fraction` in study/wording.py writes it: what is not 0 or 1 is never written so.
Offramp.fraction = (value, digits) => {
  for (const end of [0, 1]) if (Math.abs(value - end) <= 1e-9) return end.toFixed(digits);
  for (const shown of [digits, 4]) {
    const text = Offramp.rounded(value, shown);
    if (![0, 1].includes(Number(text))) return text;
  }
  return value < 0.5 ? "<0.0001" : ">0.9999";
};
Offramp.number = (value) => (value === null ? "?" : Offramp.fraction(value, 3));

// A share in percent, as `percent` there.
Offramp.percent = (share) => {
  const text = Offramp.rounded(100 * share, 0);
  if (!["0", "100"].includes(text) || [0, 1].some((end) => Math.abs(share - end) <= 1e-9)) return text + "%";
  return share < 0.5 ? "<1%" : ">99%";
};

// Where a candidate is shown in full.
Offramp.address = (id) => (Offramp.live() ? Offramp.path("candidates", id) : "#c-" + id);

Offramp.live = () => document.body.dataset.live === "yes";
Offramp.path = (...parts) => "/studies/" + [document.body.dataset.study, ...parts].map(encodeURIComponent).join("/");
