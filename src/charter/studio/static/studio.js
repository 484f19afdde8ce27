"use strict";
// A run at work: what its journal says goes into the fields that are named for it. Without this, a reload does.
(function () {
  const live = document.querySelector("[data-events]");
  if (!live) return;
  const source = new EventSource(live.dataset.events);
  source.onmessage = function (message) {
    const told = JSON.parse(message.data);
    const shown = Object.assign({}, told, {
      records: told.records + (told.wanted ? " of " + told.wanted : "") + " records",
    });
    for (const field of live.querySelectorAll("[data-live]")) {
      const value = shown[field.dataset.live];
      field.textContent = value === null || value === undefined ? "" : String(value);
    }
    if (["finished", "paused", "failed", "interrupted"].includes(told.event)) source.close();
  };
})();
