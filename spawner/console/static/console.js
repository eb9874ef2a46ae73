// On every page: tell the server the reader's time zone, and show times in it at once.
(function () {
  "use strict";

  const root = document.documentElement;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && zone !== root.dataset.zone) {
    document.cookie = `berth-zone=${encodeURIComponent(zone)}; path=${root.dataset.prefix}; max-age=31536000; samesite=lax`;
  }

  // As the server writes them once it knows the zone.
  function localise(within) {
    if (root.dataset.zone || !zone) return;
    for (const element of within.querySelectorAll("time[datetime]")) {
      const when = new Date(element.dateTime);
      const today = when.toDateString() === new Date().toDateString();
      const day = today ? {} : { day: "numeric", month: "short" };
      const full = element.dataset.form === "full";
      element.textContent = when.toLocaleString(root.lang, {
        ...(full ? { day: "numeric", month: "short", year: "numeric", second: "2-digit", timeZoneName: "short" } : day),
        hour: "2-digit",
        minute: "2-digit",
        hour12: false,
      });
    }
    const note = document.getElementById("zone-note");
    if (note) note.textContent = note.textContent.replace("UTC", zone);
  }

  // "1 h 5 min" until a moment, in elements with data-until; the server's clock decides, not that of the reader.
  const ahead = Date.now() - new Date(root.dataset.now);
  function count() {
    for (const element of document.querySelectorAll("[data-until]")) {
      const minutes = Math.max(0, Math.round((new Date(element.dataset.until) - (Date.now() - ahead)) / 60000));
      const hours = Math.floor(minutes / 60);
      const text = hours ? (minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`) : `${minutes} min`;
      if (element.textContent !== text) element.textContent = text;
    }
  }

  localise(document);
  document.addEventListener("htmx:load", (event) => localise(event.target));
  count();
  setInterval(count, 15000);
})();
