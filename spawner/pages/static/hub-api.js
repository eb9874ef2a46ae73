// The hub's API, and times in words, for our scripts on the hub's pages: window.berth.
window.berth = (function () {
  "use strict";

  const base = window.jhdata.base_url;

  // Give the parsed answer; throws an Error with `status` and the hub's own words.
  async function ask(method, path, body) {
    let response;
    try {
      response = await fetch(`${base}api/${path}`, {
        method,
        headers: { "X-XSRFToken": window.jhdata.xsrf_token, "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw Object.assign(new Error("The hub does not answer. Trying again."), { status: 0 });
    }
    const text = await response.text();
    let answer = null;
    try {
      answer = text ? JSON.parse(text) : null;
    } catch {
      // A proxy's page, not the hub's answer.
    }
    if (!response.ok) {
      const message = answer?.message || `The hub answered ${response.status}.`;
      throw Object.assign(new Error(message), { status: response.status });
    }
    return answer;
  }

  function path(...names) {
    return names.map(encodeURIComponent).join("/");
  }

  // Path of a server in the hub's own API, and of its pages.
  const server = (user, name) => (name ? path("users", user, "servers", name) : path("users", user, "server"));
  const page = (kind, user, name) => `${base}${path(kind, user)}${name ? `/${encodeURIComponent(name)}` : ""}`;

  // What the hub says of a server; one that it has never heard of does not run.
  async function state(user, name) {
    try {
      return await ask("GET", server(user, name));
    } catch (error) {
      if (error.status === 404) return { pending: null, ready: false };
      throw error;
    }
  }

  const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  // Wait until nothing is under way for a server.
  async function settled(user, name) {
    while ((await state(user, name)).pending) await pause(0.5);
  }

  // "14:30", with the day where it is another one.
  function when(iso) {
    const moment = new Date(iso);
    const today = moment.toDateString() === new Date().toDateString();
    const day = today ? {} : { weekday: "short", day: "numeric", month: "short" };
    return moment.toLocaleString(document.documentElement.lang || undefined, {
      ...day,
      hour: "2-digit",
      minute: "2-digit",
      hour12: false,
    });
  }

  // "1 h 5 min", "4 min", "30 s".
  function length(seconds) {
    if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
    const minutes = Math.round(seconds / 60); // as the notices round
    const hours = Math.floor(minutes / 60);
    if (!hours) return `${minutes} min`;
    return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  }

  // Write a text only where it is new, so that screen readers say it once.
  function write(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  return { ask, path, server, page, state, settled, pause, when, length, write };
})();
