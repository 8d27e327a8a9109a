"use strict";
// The live page asks every two seconds whether the study has changed, and loads the new content if it has.
// It waits while a mouse button is held down, so that no slider is replaced while it is dragged.
Offramp.startLive = () => {
  if (!Offramp.live() || !document.body.dataset.stamp) return;
  let held = false;
  document.addEventListener("pointerdown", () => { held = true; });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { held = false; });
  const again = async () => {
    try {
      if (!document.hidden && !held) await Offramp.follow();
    } catch (error) {
      document.getElementById("status").textContent = "server not reachable";
    }
    setTimeout(again, document.body.dataset.every ? Number(document.body.dataset.every) : 2000);
  };
  setTimeout(again, 2000);
};

Offramp.follow = async () => {
  const reply = await fetch(Offramp.path("state"));
  if (!reply.ok) return;
  const now = await reply.json(), status = document.getElementById("status");
  status.textContent = now.words;
  status.className = "status " + now.status;
  for (const bar of document.querySelectorAll(".pace")) {
    bar.hidden = now.share === null;
    bar.querySelector("progress").value = now.share || 0;
    bar.querySelector(".hint").textContent = now.pace;
  }
  if (now.stamp === document.body.dataset.stamp) return;
  const page = await fetch(location.pathname + location.search);
  if (!page.ok) return;
  const fresh = new DOMParser().parseFromString(await page.text(), "text/html");
  document.body.dataset.stamp = now.stamp;
  Offramp.replaceContent(fresh);
};

// What a person has set stays: tab, rotation, choice, weights, table, focus.
Offramp.replaceContent = (fresh) => {
  const { tab, split, turn, chosen, weights, under, brush } = Offramp.state || {}, table = Offramp.tableState(), held = Offramp.mark(document.activeElement);
  document.getElementById("content").replaceChildren(...fresh.getElementById("content").childNodes);
  document.querySelector(".top nav").replaceChildren(...fresh.querySelector(".top nav").childNodes);
  Offramp.loadCourse();
  Offramp.loadPeeks();
  Offramp.loadPictures();
  Offramp.start({ tab, split, turn, chosen, weights, under, brush });
  Offramp.restoreTable(table);
  const again = [...document.querySelectorAll(Offramp.FOCUSABLE)].find((item) => Offramp.mark(item) === held && item.getClientRects().length);
  if (again) again.focus({ preventScroll: true });
};

// Identifies an element of the old content in the new one.
Offramp.FOCUSABLE = "#content a, #content button, #content input, #content [tabindex], #content summary, .top a";
Offramp.mark = (item) => [item.tagName, item.id, item.dataset.id, item.dataset.pick, item.getAttribute("href"), item.type === "checkbox" && item.value, item.tagName === "BUTTON" && item.textContent].join(" ");

// Progress reads every result; bootstrapped demos and a run's requests are made again: all are loaded after the page.
Offramp.fill = async (place, path) => {
  if (!Offramp.live() || !place || place.children.length) return;
  const reply = await fetch(path);
  if (!reply.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
  place.replaceChildren(...fresh.head.childNodes, ...fresh.body.childNodes);
};

Offramp.loadCourse = () => Offramp.fill(document.getElementById("course-place"), Offramp.path("course"));

Offramp.loadPictures = async () => {
  await Offramp.fill(document.getElementById("pictures-place"), Offramp.path("pictures"));
  Offramp.startMap();
};

// Prompts and demos of the points come once, so that pointing at one shows them at once.
Offramp.loadPeeks = async () => {
  await Offramp.fill(document.getElementById("peeks"), Offramp.path("peeks"));
  if (Offramp.state) Offramp.peek(Offramp.state, null);
};

Offramp.loadDemos = () => {
  for (const name of ["demos", "turns", "request"])
    for (const place of document.querySelectorAll(`[data-${name}]`))
      Offramp.fill(place, Offramp.path(name) + "?candidate=" + encodeURIComponent(place.dataset[name]));
};

// A choice by mouse or touch applies at once; by keys, where each arrow is a choice, with the button.
Offramp.startFilters = () => {
  const form = document.getElementById("filters");
  if (!form) return;
  let keys = false;
  form.addEventListener("keydown", () => { keys = true; });
  form.addEventListener("pointerdown", () => { keys = false; });
  form.addEventListener("change", () => { if (!keys) form.requestSubmit(); });
};
