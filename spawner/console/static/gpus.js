// The GPU board: whether it is live, and how the heat map is walked with arrow keys.
(function () {
  "use strict";

  const note = document.getElementById("live-note");
  function tell(live) {
    if (!note) return;
    note.hidden = false;
    note.textContent = live ? note.dataset.live : note.dataset.late;
    note.classList.toggle("good", live);
    note.classList.toggle("warn", !live);
  }
  document.addEventListener("htmx:sseOpen", () => tell(true));
  document.addEventListener("htmx:sseError", () => tell(false));

  // What arrives takes the place of what has the same id. Not by htmx, which takes seconds for a thousand cells.
  function put(name, text) {
    const focused = document.activeElement && document.activeElement.id;
    const made = document.createElement("template");
    made.innerHTML = text;
    const parts = [...made.content.children];
    if (name === "board") {
      document.getElementById("board").replaceChildren(made.content);
    } else {
      for (const part of parts) {
        const old = document.getElementById(part.id);
        if (old) old.replaceWith(part);
      }
    }
    const again = focused && document.getElementById(focused);
    if (again && again !== document.activeElement) again.focus({ preventScroll: true });
    const shown = name === "board" ? [document.getElementById("board")] : parts.filter((part) => part.querySelector("time"));
    for (const part of shown) part.dispatchEvent(new CustomEvent("htmx:load", { bubbles: true }));
    rove();
  }
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    event.preventDefault();
    put(event.detail.type, event.detail.data);
  });

  // Of a node's cells one can be reached with Tab, the others from there: a thousand stops are too many.
  function rove() {
    for (const cells of document.querySelectorAll(".cells")) {
      const all = cells.querySelectorAll(".cell");
      const kept = cells.querySelector(".cell:focus") || all[0];
      for (const cell of all) cell.tabIndex = cell === kept ? 0 : -1;
    }
  }
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 }[event.key];
    const cell = event.target.closest ? event.target.closest(".cells .cell") : null;
    if (!step || !cell) return;
    const all = [...document.querySelectorAll(".cells .cell")];
    const next = all[all.indexOf(cell) + step];
    event.preventDefault();
    if (next) {
      next.focus();
      rove();
    }
  });
  rove();

  // What somebody reads as a table stays open: the page waits for them.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const target = event.target;
    if (target.id === "now" && (target.querySelector("details[open]") || target.contains(document.activeElement))) event.preventDefault();
  });
})();
