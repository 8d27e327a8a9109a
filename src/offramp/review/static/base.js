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

// Where a candidate is shown in full.
Offramp.address = (id) => (Offramp.live() ? Offramp.path("candidates", id) : "#c-" + id);

Offramp.live = () => document.body.dataset.live === "yes";
Offramp.path = (...parts) => "/studies/" + [document.body.dataset.study, ...parts].map(encodeURIComponent).join("/");
