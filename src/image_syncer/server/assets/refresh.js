// Look again, and leave the reader where he is: what he has selected, scrolled to or put the focus on.
const SECONDS = {{ refresh_seconds }};
const PARTS = ["header", "main"];

function keepPlace(change) {
  const top = window.scrollY;
  const asides = [...document.querySelectorAll("section")].map((section) => [section.id, section.scrollLeft]);
  const focused = document.activeElement?.getAttribute("href");
  change();
  window.scrollTo({ top, behavior: "instant" });
  for (const [id, left] of asides) {
    const section = document.getElementById(id);
    if (section) section.scrollLeft = left;
  }
  if (focused) document.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

async function look() {
  if (document.hidden || getSelection().type === "Range") return;
  const response = await fetch(location.pathname, { cache: "no-store", redirect: "error" });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!PARTS.every((part) => fresh.querySelector(part))) throw new Error("not our page");
  keepPlace(() => {
    for (const part of PARTS) document.querySelector(part).replaceWith(document.adoptNode(fresh.querySelector(part)));
  });
}

async function lookForEver() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
    await look().then(
      () => document.body.classList.remove("stale"),
      () => document.body.classList.add("stale"),
    );
  }
}

lookForEver();
