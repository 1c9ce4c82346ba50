// Follows what changes. Without it the pages say the same, when they are loaded again. A part in which somebody is
// writing stays as it is while it is still a form; what the server says of a verdict counts in any case.
"use strict";
(() => {
  const script = document.currentScript;
  const events = new EventSource(script.dataset.events);
  let busy = false;
  const writing = (part) => [...part.querySelectorAll("textarea")].some((area) => area.value || area === document.activeElement);
  // Whoever is in the part with the keyboard stays where they are, or at the content's beginning if that is gone.
  const replace = (part, next) => {
    const at = part.contains(document.activeElement) ? document.activeElement : null;
    part.replaceChildren(...next.childNodes);
    if (!at) return;
    const alike = (one) => one.tagName === at.tagName && one.id === at.id && one.getAttribute("href") === at.getAttribute("href") && one.value === at.value;
    ([...part.querySelectorAll("a, button, textarea, [tabindex]")].find(alike) || document.getElementById("main")).focus();
  };
  const refresh = async () => {
    if (busy) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
      if (!answer.ok) { location.reload(); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = page.getElementById(part.id);
        if (!next || next.innerHTML === part.innerHTML) continue;
        if (writing(part) && next.querySelector("form")) continue;
        replace(part, next);
      }
      document.documentElement.dataset.refreshed = String(Number(document.documentElement.dataset.refreshed || 0) + 1);
    } finally {
      busy = false;
    }
  };
  events.addEventListener("changed", refresh);
  events.addEventListener("ended", () => { events.close(); location.reload(); });
  events.addEventListener("open", () => {
    const note = document.getElementById("live-note");
    if (note) note.hidden = false;
    document.documentElement.dataset.live = "yes";
  });
  addEventListener("pagehide", () => events.close());
})();
