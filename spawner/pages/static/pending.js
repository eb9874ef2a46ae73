// The hub's own button stops one's default server, whichever server the page is about: ours stops the right one.
(function () {
  "use strict";

  const { ask, server, page, write } = window.berth;
  const { user, server: name } = document.getElementById("berth-queue").dataset;
  const theirs = document.getElementById("stop-server-btn");
  const ours = theirs.cloneNode(true);
  ours.id = "berth-stop";
  ours.className = "btn btn-outline-contrast btn-sm";
  ours.textContent = "Stop the start";
  theirs.replaceWith(ours);

  ours.addEventListener("click", async () => {
    const said = document.getElementById("stop-server-status");
    ours.disabled = true;
    said.style.display = "";
    write(said, "Stopping.");
    try {
      await ask("DELETE", server(user, name));
      window.location.assign(page("spawn", user, name));
    } catch (error) {
      write(said, error.message);
      ours.disabled = false;
    }
  });
})();
