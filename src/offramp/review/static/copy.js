"use strict";
// Copies the text of the data block beside the button, as it is.
Offramp.startCopy = () => {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest && event.target.closest("[data-copy]");
    if (!button) return;
    const place = button.closest("[data-request], .command"), block = place.querySelector("script, code"), said = button.parentElement.querySelector("[role=status]");
    const text = block.tagName === "SCRIPT" ? JSON.parse(block.textContent) : block.textContent;
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied.";
    } catch (error) {
      said.textContent = "The browser does not allow it: select the text instead.";
    }
  });
};
