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

// Drafts of a review stay in this tab until their label is taken down. They are kept for whoever types them.
(function () {
  const kept = document.querySelector("[data-kept]");
  const form = document.querySelector("form[data-draft]");
  const fields = form ? Array.from(form.querySelectorAll("textarea")) : [];
  if (kept) {
    for (const key of Object.keys(sessionStorage)) {
      if (key.includes("/" + kept.dataset.kept + " ")) sessionStorage.removeItem(key);
    }
  }
  for (const leave of document.querySelectorAll("form.who")) {
    leave.addEventListener("submit", () => sessionStorage.clear());
  }
  for (const field of fields) {
    const key = "draft " + form.dataset.draft + " " + field.name;
    const before = sessionStorage.getItem(key);
    if (before !== null) field.value = before;
    field.addEventListener("input", () => sessionStorage.setItem(key, field.value));
  }
})();

// Keys of a review, as in the terminal. They are off while somebody types; Escape ends typing.
(function () {
  const form = document.querySelector("form[data-review]");
  const choices = form ? Array.from(form.querySelectorAll("[data-choice]")) : [];
  const next = document.querySelector("form[data-next]");
  let sent = false;
  if (!form && !next) return;
  for (const sender of [form, next]) {
    if (sender) sender.addEventListener("submit", (event) => (sent ? event.preventDefault() : (sent = true)));
  }
  window.addEventListener("pageshow", () => (sent = false));
  const marked = () => Math.max(0, choices.indexOf(document.activeElement));
  const first = choices.find((choice) => choice.classList.contains("chosen")) || choices[0];
  if (first) first.focus({ preventScroll: true });

  function act(key) {
    if (/^[1-9]$/.test(key)) return press(choices.filter((choice) => !choice.dataset.key)[Number(key) - 1]);
    if (key === "ArrowUp" || key === "ArrowDown") {
      const step = key === "ArrowDown" ? 1 : choices.length - 1;
      const chosen = choices[(marked() + step) % choices.length];
      if (chosen) chosen.focus();
      return Boolean(chosen);
    }
    if (key === "ArrowLeft") return press(document.querySelector("a[rel=prev]"));
    if (key === "ArrowRight") return press(document.querySelector("a[rel=next]") || (next && next.querySelector("button")));
    if (!/^[a-z?]$/.test(key)) return false;
    const named = document.querySelector('[data-key="' + key + '"]');
    if (!named) return false;
    if (named.tagName === "DETAILS") named.open = !named.open;
    else if (named.tagName === "TEXTAREA") write(named);
    else press(named);
    return true;
  }

  function press(control) {
    if (control) control.click();
    return Boolean(control);
  }

  function write(field) {
    const answer = document.querySelector("[data-answer]");
    if (field.name === "corrected" && !field.value && answer) field.value = answer.textContent;
    field.focus();
  }

  document.addEventListener("keydown", function (event) {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (typing && event.key === "Escape" && first) first.focus();
    if (!typing && event.repeat && choices.includes(event.target)) event.preventDefault(); // one press, one label
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (act(event.key)) event.preventDefault();
  });
})();
