// The board of a class: whether it is live, what arrives, and which seats are chosen.
(function () {
  "use strict";

  const note = document.getElementById("live-note");
  let late = null;
  function tell(live) {
    if (!note) return;
    note.hidden = false;
    note.textContent = live ? note.dataset.live : note.dataset.late;
    note.classList.toggle("good", live);
    note.classList.toggle("warn", !live);
    clearTimeout(late);
    // Without the stream, as without scripts; but not under somebody's hands.
    if (!live) late = setTimeout(() => (chosen().length ? tell(false) : location.reload()), 30000);
  }
  document.addEventListener("htmx:sseOpen", () => tell(true));
  document.addEventListener("htmx:sseError", () => tell(false));

  const chosen = () => [...document.querySelectorAll(".pick:checked")];

  // Who asks for help is said to those who hear the page, and nothing else of what moves.
  function say() {
    const head = document.getElementById("class-head");
    const said = document.getElementById("class-said");
    const text = head ? head.dataset.say.replace(/\s+/g, " ").trim() : "";
    if (said && said.textContent !== text) said.textContent = text;
  }

  // What arrives takes the place of what has the same id; what was chosen stays so.
  function put(text) {
    const focused = document.activeElement && document.activeElement.id;
    const kept = new Set(chosen().map((box) => box.value));
    const made = document.createElement("template");
    made.innerHTML = text;
    for (const box of made.content.querySelectorAll(".pick")) box.checked = kept.has(box.value);
    const parts = [...made.content.children];
    for (const part of parts) {
      const old = document.getElementById(part.id);
      if (old) old.replaceWith(part);
    }
    const again = focused && document.getElementById(focused);
    if (again && again !== document.activeElement) again.focus({ preventScroll: true });
    for (const part of parts) part.dispatchEvent(new CustomEvent("htmx:load", { bubbles: true }));
    say();
    count();
  }
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    event.preventDefault();
    put(event.detail.data);
  });

  const all = document.getElementById("pick-all");
  function count() {
    if (!all) return;
    const boxes = document.querySelectorAll(".pick");
    all.hidden = boxes.length === 0;
    all.textContent = boxes.length && chosen().length === boxes.length ? all.dataset.none : all.dataset.all;
  }
  if (all) {
    all.addEventListener("click", () => {
      const boxes = [...document.querySelectorAll(".pick")];
      const on = boxes.some((box) => !box.checked);
      for (const box of boxes) box.checked = on;
      count();
    });
    document.addEventListener("change", (event) => event.target.matches(".pick") && count());
  }
  count();
})();
