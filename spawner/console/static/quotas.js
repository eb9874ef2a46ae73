// The table of quotas: one editor at a time, closed with Escape or Cancel, and the reader's place kept.
(function () {
  "use strict";

  let opener = null;

  function close() {
    for (const row of document.querySelectorAll("tr.editing")) row.remove();
    if (opener && document.contains(opener)) opener.focus();
    opener = null;
  }

  document.addEventListener("htmx:beforeSwap", (event) => {
    const asked = event.detail.requestConfig.elt;
    if (!asked.classList.contains("cell")) return;
    for (const row of document.querySelectorAll("tr.editing")) row.remove();
    opener = asked;
  });
  document.addEventListener("htmx:afterSettle", () => {
    const first = document.querySelector("tr.editing [data-focus]");
    if (first) first.focus();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-close]")) return;
    event.preventDefault();
    close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.querySelector("tr.editing")) close();
  });
})();
