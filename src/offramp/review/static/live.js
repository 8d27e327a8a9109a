"use strict";
// The live page asks every two seconds whether the study has changed, and takes the new content when it has.
Offramp.startLive = (state) => {
  if (!Offramp.live() || !document.body.dataset.stamp) return;
  const again = async () => {
    try {
      if (!document.hidden) await Offramp.follow(state);
    } catch (error) {
      document.getElementById("status").textContent = "not reachable";
    }
    setTimeout(again, document.body.dataset.every ? Number(document.body.dataset.every) : 2000);
  };
  setTimeout(again, 2000);
};

Offramp.follow = async (state) => {
  const reply = await fetch(Offramp.path("state"));
  if (!reply.ok) return;
  const now = await reply.json(), status = document.getElementById("status");
  status.textContent = now.words;
  status.className = "status " + now.status;
  if (now.stamp === document.body.dataset.stamp) return;
  const page = await fetch(location.pathname + location.search);
  if (!page.ok) return;
  const fresh = new DOMParser().parseFromString(await page.text(), "text/html");
  document.body.dataset.stamp = now.stamp;
  Offramp.replaceContent(state, fresh);
};

Offramp.replaceContent = (state, fresh) => {
  const held = document.activeElement && document.activeElement.id, search = document.getElementById("filter");
  const kept = search ? search.value : "";
  document.getElementById("content").replaceChildren(...fresh.getElementById("content").childNodes);
  Offramp.loadCourse();
  Offramp.start({ tab: state.tab, turn: state.turn, chosen: state.chosen, weights: state.weights });
  const again = document.getElementById("filter");
  if (again && kept) { again.value = kept; again.dispatchEvent(new Event("input")); }
  if (held && document.getElementById(held)) document.getElementById(held).focus();
};

// How the study went reads every result, and bootstrapped demos are made anew: both come after the page.
Offramp.fill = async (place, path) => {
  if (!Offramp.live() || !place || place.children.length) return;
  const reply = await fetch(path);
  if (!reply.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
  place.replaceChildren(...fresh.body.childNodes);
};

Offramp.loadCourse = () => Offramp.fill(document.getElementById("course-place"), Offramp.path("course"));

Offramp.loadDemos = () => {
  for (const place of document.querySelectorAll("[data-demos]"))
    Offramp.fill(place, Offramp.path("demos") + "?candidate=" + encodeURIComponent(place.dataset.demos));
};

Offramp.startFilters = () => {
  const form = document.getElementById("filters");
  if (form) form.addEventListener("change", () => form.requestSubmit());
};
