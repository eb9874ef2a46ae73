// The spawn form: fields that only some profiles have. Without this script all are shown, and their defaults do no harm.
(function () {
  "use strict";

  const form = document.getElementById("spawn_form");
  const fields = document.getElementById("berth-gpu-fields");
  if (!form || !fields) return;

  const gpus = document.getElementById("berth-gpus");
  const hours = document.getElementById("berth-hours");
  const ifBusy = document.getElementById("berth-if-busy");
  const leftHours = fields.dataset.leftHours === "" ? Infinity : Number(fields.dataset.leftHours);
  let shown = null;

  function chosen() {
    return form.querySelector("input[name=profile]:checked");
  }

  function offer(option, possible) {
    option.hidden = !possible;
    option.disabled = !possible;
  }

  function show() {
    const profile = chosen();
    const most = profile ? Number(profile.dataset.most || 0) : 0;
    // A disabled field is not sent.
    fields.hidden = fields.disabled = most === 0;
    if (most === 0) return;

    for (const option of gpus.options) {
      offer(option, option.value !== "" && Number(option.value) <= most);
    }
    if (profile !== shown) {
      gpus.value = profile.dataset.usual;
      shown = profile;
    }
    const count = Number(gpus.value);
    for (const option of hours.options) {
      offer(option, option.value === "" || Number(option.value) * count <= leftHours);
    }
    if (hours.selectedOptions[0].disabled) hours.value = "";

    const usual = count === Number(profile.dataset.usual);
    const busy = count > Number(profile.dataset.free) || (usual && profile.dataset.busy === "1");
    ifBusy.hidden = ifBusy.disabled = !busy;
  }

  form.addEventListener("change", show);
  // Going back in the browser may restore another choice than the page was made with.
  window.addEventListener("pageshow", show);
  show();
})();
