// Everything here works without it, by whole pages. This keeps the place and the focus.
"use strict";

const PARTS = ["history", "results", "notice"];
let latest = 0;

const order = () =>
  [...document.querySelectorAll("#results > section:last-of-type li[data-product]")].map((one) => one.dataset.product);

// Takes the parts of another page into this one.
function swap(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  if (!page.getElementById("results")) return false;
  const before = order();
  const key = document.activeElement?.dataset?.key;
  for (const id of PARTS) document.getElementById(id)?.replaceWith(document.adoptNode(page.getElementById(id)));
  order().forEach((product, rank) => {
    if (before.length && before[rank] !== product)
      document.querySelector(`#results > section:last-of-type li[data-product="${CSS.escape(product)}"]`).classList.add("fresh");
  });
  if (key) {
    const again = document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`);
    (again[again.length - 1] ?? document.getElementById("notice")).focus();
  }
  return true;
}

async function load(url, options, keepNotice) {
  const mine = ++latest;
  document.getElementById("results").setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(url, options);
    const html = await answer.text();
    if (mine !== latest) return; // a newer one is on its way
    if (answer.status === 200 && swap(html)) {
      const shown = new URL(answer.url);
      for (const one of ["stored", "sent"]) shown.searchParams.delete(one);
      history.replaceState(null, "", shown);
      if (!keepNotice) say("Results updated.");
    } else {
      say(new DOMParser().parseFromString(html, "text/html").querySelector("[role=alert]")?.textContent ?? "That did not work.");
    }
  } catch {
    say("The sidecar did not answer. Try again.");
  } finally {
    document.getElementById("results")?.removeAttribute("aria-busy");
  }
}

function say(text) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.classList.toggle("empty", !text);
}

const search = document.getElementById("search");
if (search) {
  // Another shopper is looked at with the same search.
  document.querySelector(".find")?.addEventListener("submit", (event) => {
    event.target.elements.q.value = search.elements.q.value;
  });
  const query = () => `${search.action}?${new URLSearchParams(new FormData(search))}`;
  let timer;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => load(query()), 200);
  };
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    load(query());
  });
  document.getElementById("impact").addEventListener("input", ({ target }) => {
    document.getElementById("impact-value").textContent = target.value;
    const { configured } = target.dataset;
    document.getElementById("configured").textContent =
      target.value === configured ? "as configured" : `configured: ${configured}`;
    soon();
  });
  document.getElementById("q").addEventListener("input", soon);

  document.addEventListener("submit", async (event) => {
    if (!event.target.matches(".act")) return;
    event.preventDefault();
    const form = new FormData(event.target, event.submitter);
    for (const name of ["q", "impact"]) form.set(name, search.elements[name].value);
    say("Sent: waiting for the vector …");
    await load(event.target.action, { method: "POST", body: new URLSearchParams(form) }, true);
  });
}
