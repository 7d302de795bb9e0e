// Refreshes the page in place, without changing the selection, the scroll position or the focus.
const SECONDS = {{ refresh_seconds }};
const PARTS = ["header", "main"];

function keepPosition(change) {
  const top = window.scrollY;
  const scrolled = [...document.querySelectorAll("section")].map((section) => [section.id, section.scrollLeft]);
  const focused = document.activeElement?.getAttribute("href");
  change();
  window.scrollTo({ top, behavior: "instant" });
  for (const [id, left] of scrolled) {
    const section = document.getElementById(id);
    if (section) section.scrollLeft = left;
  }
  if (focused) document.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

async function refresh() {
  if (document.hidden || getSelection().type === "Range") return;
  const response = await fetch(location.pathname, { cache: "no-store", redirect: "error" });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!PARTS.every((part) => fresh.querySelector(part))) throw new Error("not the dashboard");
  keepPosition(() => {
    for (const part of PARTS) document.querySelector(part).replaceWith(document.adoptNode(fresh.querySelector(part)));
  });
}

async function refreshForever() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
    await refresh().then(
      () => document.body.classList.remove("stale"),
      () => document.body.classList.add("stale"),
    );
  }
}

refreshForever();
