// Courses: a short name from the title, links to copy, all of a list chosen at once.
(function () {
  "use strict";

  const title = document.querySelector("[data-title]");
  const short = document.querySelector("[data-short]");
  if (title && short) {
    let own = short.value !== "";
    const folder = document.getElementById("folder");
    const propose = () => {
      if (own) return;
      short.value = title.value
        .normalize("NFKD")
        .replace(/[\u0300-\u036f]/g, "")
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, "-")
        .replace(/^[-0-9]+/, "")
        .slice(0, 30)
        .replace(/-+$/, "");
      if (folder && short.value) folder.placeholder = short.value;
    };
    title.addEventListener("input", propose);
    short.addEventListener("input", () => {
      own = short.value !== "";
    });
  }

  // A profile has GPUs of its own, which hold until somebody says otherwise.
  const gpus = document.getElementById("gpus");
  if (gpus && title) {
    let said = false;
    gpus.addEventListener("input", () => {
      said = true;
    });
    for (const choice of document.querySelectorAll("[data-gpus]")) {
      choice.addEventListener("change", () => {
        if (said) return;
        gpus.value = choice.dataset.gpus;
        gpus.dispatchEvent(new Event("change", { bubbles: true }));
      });
    }
  }

  // Who types an address means a repository.
  for (const field of document.querySelectorAll("[data-picks]")) {
    field.addEventListener("input", () => {
      const choice = document.querySelector(`[name="source"][value="${field.dataset.picks}"]`);
      if (field.value && choice) choice.checked = true;
    });
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    const words = button.textContent;
    button.addEventListener("click", async () => {
      const field = document.getElementById(button.dataset.copy);
      field.select();
      try {
        await navigator.clipboard.writeText(field.value);
      } catch {
        document.execCommand("copy"); // without https there is no clipboard
      }
      button.textContent = button.dataset.copied;
      setTimeout(() => {
        button.textContent = words;
      }, 2000);
    });
  }

  for (const all of document.querySelectorAll("[data-all]")) {
    all.hidden = false;
    const boxes = () => all.form.querySelectorAll(`input[type="checkbox"][name="${all.dataset.all}"]`);
    all.addEventListener("change", () => {
      for (const box of boxes()) box.checked = all.checked;
    });
  }
})();
