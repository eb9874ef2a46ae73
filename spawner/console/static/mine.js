// On the pages of one's own servers.
(function () {
  "use strict";

  // What is opened stays open when its surroundings are made anew.
  const open = new Set();
  document.addEventListener(
    "toggle",
    (event) => {
      const key = event.target.closest?.("[data-keep]")?.dataset.keep;
      if (key) open[event.target.open ? "add" : "delete"](key);
    },
    true,
  );
  document.addEventListener("htmx:afterSwap", () => {
    for (const part of document.querySelectorAll("[data-keep]")) {
      const details = part.querySelector("details");
      if (details && open.has(part.dataset.keep)) details.open = true;
    }
  });

  // A start takes some seconds: say so, and send it once.
  for (const form of document.querySelectorAll("form[data-busy]")) {
    form.addEventListener("submit", (event) => {
      const button = form.querySelector("button");
      if (button.getAttribute("aria-disabled")) {
        event.preventDefault();
        return;
      }
      button.setAttribute("aria-disabled", "true");
      button.textContent = form.dataset.busy;
    });
  }
})();
