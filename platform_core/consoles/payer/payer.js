// The payer's page: on to the wallet after a press, and a look for news while a payment is open.
"use strict";
(() => {
  const card = document.querySelector(".payer");
  if (card === null) return;
  const onward = card.dataset.goOn;
  if (onward !== undefined) {
    history.replaceState(null, "", location.pathname);  // Back and refresh show the page, and do not send on again.
    location.assign(onward);
  }
  const path = card.dataset.live;
  if (path === undefined) return;
  const began = performance.now();
  const look = async () => {
    try {
      if (!document.hidden) {
        const answer = await fetch(path, { headers: { accept: "application/json" }, cache: "no-store" });
        if (answer.status === 404) return location.reload();
        if (answer.ok && (await answer.json()).version !== card.dataset.version) return location.reload();
      }
    } catch (_) {
      // No network just now: the next look may have one.
    }
    setTimeout(look, performance.now() - began < 120000 ? 2500 : 10000);
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) location.reload();
  });
  setTimeout(look, 2500);
})();
