// The strip on the home page: one's leases, places in the queue, and what remains of the quota.
(function () {
  "use strict";

  const SECONDS = 15;
  const { ask, path, when, length, write } = window.berth;
  const strip = document.getElementById("berth-mine");
  const rows = document.getElementById("berth-mine-leases");
  const problem = document.getElementById("berth-mine-problem");
  const user = window.jhdata.user;
  let shown = "";
  let ends = [];

  function make(kind, className, text) {
    const element = document.createElement(kind);
    element.className = className;
    element.textContent = text;
    return element;
  }

  function button(text, label, action) {
    const made = make("button", "btn btn-sm btn-outline-contrast", text);
    made.type = "button";
    made.setAttribute("aria-label", label);
    made.addEventListener("click", async () => {
      made.disabled = true;
      try {
        write(problem, (await action())?.text || "");
      } catch (error) {
        write(problem, error.message);
      }
      shown = ""; // made anew, so that the button can be pressed again
      await refresh();
    });
    return made;
  }

  const serverWords = (name) => (name ? `server ${name}` : "your default server");

  function leaseRow(lease) {
    const row = make("div", "berth-mine-row", "");
    const text = make("div", "berth-mine-text", "");
    const title = make("strong", "", lease.model || `${lease.gpus} GPU`);
    text.append(title);
    if (lease.simulated) text.append(" ", make("span", "berth-tag", "simulated"));
    const where = serverWords(lease.server);
    const left = make("span", "berth-mine-left", "");
    text.append(make("span", "berth-muted", ` on ${where}, `), left);
    for (const message of lease.messages) {
      text.append(make("div", `berth-mine-message berth-mine-${message.level}`, message.text));
    }
    row.append(text);
    if (lease.state === "active" || lease.state === "pending") {
      ends.push([left, Date.now() + lease.left_seconds * 1000]);
      const buttons = make("div", "berth-mine-buttons", "");
      const query = `?server=${encodeURIComponent(lease.server)}`;
      const extend = button("Extend", `Extend the lease on ${where}`, () =>
        ask("POST", `berth/lease/extend${query}`, { hours: null }),
      );
      extend.disabled = !lease.can_extend;
      extend.title = lease.can_extend ? "As long as your quota allows" : lease.extend_reason;
      const after = lease.at_end === "cpu" ? "the server starts again without it" : "the server stops";
      const release = button("Release GPU", `Release the GPU of ${where}`, () => {
        const question = `Give the GPU back now? Open documents are saved, and ${after}. Running kernels end.`;
        if (!window.confirm(question)) return null;
        return ask("POST", `berth/lease/release${query}`, { at_end: lease.at_end });
      });
      buttons.append(extend, release);
      row.append(buttons);
    } else {
      write(left, "being given back");
    }
    return row;
  }

  function queueRow(place) {
    const row = make("div", "berth-mine-row", "");
    const where = serverWords(place.server);
    const title = place.state === "offered" ? "Your turn" : `Number ${place.position} of ${place.waiting} in the queue`;
    const text = make("div", "berth-mine-text", "");
    const eta = place.eta && !place.blocked && place.state === "waiting" ? `, likely at ${when(place.eta)}` : "";
    text.append(make("strong", "", title), make("span", "berth-muted", ` for ${where}${eta}`));
    row.append(text);
    const buttons = make("div", "berth-mine-buttons", "");
    buttons.append(
      button("Leave the queue", `Leave the queue with ${where}`, () =>
        ask("DELETE", path("berth", "queue", user, place.server)),
      ),
    );
    row.append(buttons);
    return row;
  }

  function quotaWords(quota) {
    const gpus = quota.gpus === 1 ? "1 GPU" : `${quota.gpus} GPUs`;
    const said = [`${quota.held} of ${gpus} in use`];
    if (quota.left_hours !== null) {
      said.push(
        `${Math.floor(quota.left_hours * 10) / 10} of ${quota.budget_hours} GPU-hours left for these ${quota.window_days} days`,
      );
    }
    return `Your GPU quota: ${said.join("; ")}.`;
  }

  function tick() {
    for (const [element, end] of ends) {
      const left = (end - Date.now()) / 1000;
      element.textContent = left > 0 ? `${length(left)} left` : "time is up";
      element.classList.toggle("berth-mine-soon", left < 600);
    }
  }

  // Ask once; false where there is nothing to follow.
  async function refresh() {
    let mine;
    try {
      mine = await ask("GET", "berth/mine");
    } catch (error) {
      if (error.status === 403 || error.status === 404) return false;
      if (!strip.hidden) write(problem, error.message);
      return true;
    }
    // Not made anew where only time has passed: that would take the keyboard's place away.
    const what = JSON.stringify([mine.leases, mine.queue], (key, value) => (key === "left_seconds" ? 0 : value));
    if (what !== shown) {
      shown = what;
      ends = [];
      rows.replaceChildren(...mine.leases.map(leaseRow), ...mine.queue.map(queueRow));
    }
    write(document.getElementById("berth-mine-quota"), quotaWords(mine.quota));
    strip.hidden = !(mine.leases.length || mine.queue.length || mine.quota.gpus);
    tick();
    return true;
  }

  setInterval(tick, 1000);
  (async function () {
    while (await refresh()) {
      await new Promise((done) => setTimeout(done, SECONDS * 1000));
    }
  })();
})();
