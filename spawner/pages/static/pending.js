// The hub's own button stops one's default server, whichever server the page is about: ours stops the right one.
// To be loaded before the page's own script, which opens the stream of the start's steps.
(function () {
  "use strict";

  const { ask, server, page, pause, settled, write } = window.berth;
  const { user, server: name } = document.getElementById("berth-queue").dataset;
  const theirs = document.getElementById("stop-server-btn");
  const ours = theirs.cloneNode(true);
  ours.id = "berth-stop";
  ours.className = "btn btn-outline-contrast btn-sm";
  ours.textContent = "Stop the start";
  theirs.replaceWith(ours);

  const streams = [];
  let stopping = false;
  const Stream = window.EventSource;
  window.EventSource = class extends Stream {
    constructor(...given) {
      super(...given);
      if (stopping) this.close();
      else streams.push(this);
    }
  };

  // The hub gives a start one second to end, and answers 500 where a busy machine took longer.
  async function stop(tries) {
    try {
      await ask("DELETE", server(user, name));
    } catch (error) {
      if (error.status !== 500 || tries <= 1) throw error;
      await pause(2);
      await stop(tries - 1);
    }
  }

  ours.addEventListener("click", async () => {
    const said = document.getElementById("stop-server-status");
    ours.disabled = true;
    said.style.display = "";
    write(said, "Stopping.");
    // The hub reports a start that was cut off as ready, and the page would go where no server is.
    stopping = true;
    for (const stream of streams) stream.close();
    try {
      await stop(3);
      await settled(user, name);
      window.location.assign(page("spawn", user, name));
    } catch (error) {
      write(said, error.message);
      ours.disabled = false;
    }
  });
})();
