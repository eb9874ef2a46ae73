// The queue's panel: follows a server's place, leaves the queue, or starts the server without GPUs.
(function () {
  "use strict";

  const SECONDS = 3;
  const { ask, path, server, page, state, settled, pause, when, length, write } = window.berth;
  const panel = document.getElementById("berth-queue");
  const { user, server: name } = panel.dataset;
  const ticket = path("berth", "queue", user, name);
  const part = (id) => document.getElementById(`berth-queue-${id}`);
  const buttons = [part("cpu"), part("leave")];
  // On the page of a start that waits, and on that of a server which does not run.
  const pending = document.getElementById("berth-pending");
  const others = pending
    ? [pending, ...document.querySelectorAll(".progress, #progress-message, #berth-stop")]
    : [document.getElementById("berth-not-running")];
  let profile = "";
  let acting = false; // a button was pressed
  let following = false;
  let served = false;

  function show(waits) {
    panel.hidden = !waits;
    for (const other of others) other.hidden = waits;
  }

  function tell(place) {
    profile = place.profile;
    const offered = place.state === "offered";
    write(part("title"), offered ? "It is your turn" : "You are in the queue");
    write(part("place"), offered ? "The server is being started." : `Number ${place.position} of ${place.waiting}`);
    write(part("what"), place.gpus === 1 ? "1 GPU" : `${place.gpus} GPUs`);
    let eta = "nobody can tell yet";
    if (place.blocked) {
      eta = "when your quota allows it again: others pass until then";
    } else if (place.eta) {
      const left = (new Date(place.eta) - Date.now()) / 1000;
      eta = left < 60 ? "any moment" : `${when(place.eta)}, in ${length(left)}`;
    }
    write(part("eta"), eta);
    write(part("since"), when(place.since));
    part("facts").hidden = false;
    for (const button of buttons) button.disabled = acting || offered;
    show(true);
  }

  // Look at the queue once; false when the server does not wait any more.
  async function look() {
    try {
      tell(await ask("GET", ticket));
      write(part("problem"), "");
      return true;
    } catch (error) {
      if (error.status === 404) return false;
      if (!panel.hidden) write(part("problem"), error.message);
      return true;
    }
  }

  // Out of the queue, and not by this page: the server starts, or was taken out.
  async function moveOn() {
    const now = await state(user, name);
    if (now.ready || now.pending === "spawn") {
      window.location.assign(page("spawn-pending", user, name));
    } else {
      show(false);
      if (pending) window.location.reload();
    }
  }

  async function follow() {
    let waited = !panel.hidden;
    while (!served) {
      if (!acting) {
        try {
          if (await look()) waited = true;
          else if (waited && !served) return await moveOn();
          else return;
        } catch (error) {
          write(part("problem"), error.message);
        }
      }
      await pause(SECONDS);
    }
  }

  async function leave() {
    try {
      await ask("DELETE", ticket);
    } catch (error) {
      if (error.status !== 404) throw error;
      const now = await state(user, name);
      if (now.ready || now.pending === "spawn") return false; // its turn came first
    }
    // A start that waits notices within a second that it has no place any more.
    await settled(user, name);
    return true;
  }

  async function act(whatNext) {
    acting = true;
    for (const button of buttons) button.disabled = true;
    try {
      if (await leave()) await whatNext();
      else window.location.assign(page("spawn-pending", user, name));
    } catch (error) {
      write(part("problem"), error.message);
      acting = false;
      for (const button of buttons) button.disabled = false;
    }
  }

  part("leave").addEventListener("click", () =>
    act(() => window.location.assign(page("spawn", user, name))),
  );
  part("cpu").addEventListener("click", () =>
    act(async () => {
      await ask("POST", server(user, name), { profile, gpus: 0 });
      window.location.assign(page("spawn-pending", user, name));
    }),
  );

  if (!pending) {
    follow();
    return;
  }
  // A start says that it waits by its progress, which stays at three per cent; what comes next is in its steps. A page
  // that comes late may see no more of it than its end.
  const bar = document.getElementById("progress-bar");
  function watch() {
    const progress = Number(bar.getAttribute("aria-valuenow"));
    if ((progress === 3 || progress === 100) && !following) {
      following = true;
      follow();
    } else if (progress > 3 && progress < 100 && following && !acting) {
      served = true;
      show(false);
    }
  }
  new MutationObserver(watch).observe(bar, { attributes: true, attributeFilter: ["aria-valuenow"] });
  watch();
})();
