/* Keeps the live page live: fetches its live part every few seconds and puts it in place of the old one.
   What the reader has selected, ticked or focused stays. Without this script the page shows one moment. */

const EVERY = 3000; // milliseconds between an answer and the next question
const DEADLINE = 10_000; // milliseconds for an answer

const now = document.getElementById("live-now");
const moment = document.getElementById("live-moment");
const state = document.getElementById("live-state");
const pause = document.getElementById("live-pause");

let timer = 0;
let fetching = false;

pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  if (paused) {
    clearTimeout(timer);
    moment.textContent = "Paused.";
  } else {
    refresh();
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !isPaused()) refresh();
});
now.addEventListener("change", (event) => {
  if (event.target.id === "live-all") {
    for (const box of boxes()) box.checked = event.target.checked;
  }
  showAll();
});
showAll();
moment.textContent = "Refreshes every 3 seconds.";
timer = setTimeout(refresh, EVERY);

async function refresh() {
  clearTimeout(timer);
  if (fetching || document.hidden || isPaused()) return;
  fetching = true;
  try {
    const response = await fetch(now.dataset.source + location.search, {
      redirect: "manual", // to the sign-in page, once the session has ended
      headers: { Accept: "text/html" },
      signal: AbortSignal.timeout(DEADLINE),
    });
    if (response.type === "opaqueredirect" || response.status === 403) {
      say("You are signed out, or may not see this any more. Reload the page.");
      return;
    }
    if (!response.ok) throw new Error(String(response.status));
    const text = await response.text();
    if (!isPaused()) {
      show(text);
      moment.textContent = `As of ${new Date().toLocaleTimeString()}.`;
      say("");
    }
  } catch {
    say("The server does not answer; trying again.");
  } finally {
    fetching = false;
  }
  if (!isPaused()) timer = setTimeout(refresh, EVERY);
}

function show(html) {
  if (isSelecting()) return;
  const parsed = new DOMParser().parseFromString(html, "text/html").body;
  const ticked = new Set(boxes().filter((box) => box.checked).map((box) => box.value));
  const focused = now.contains(document.activeElement) ? pathOf(document.activeElement) : null;
  const scrolled = [...now.querySelectorAll(".results")].map((element) => element.scrollLeft);
  now.replaceChildren(...parsed.childNodes);
  for (const box of boxes()) box.checked = ticked.has(box.value);
  now.querySelectorAll(".results").forEach((element, i) => (element.scrollLeft = scrolled[i] ?? 0));
  showAll();
  if (focused) now.querySelector(focused)?.focus({ preventScroll: true });
}

/* A selector that finds an element's successor: by id, by a form field's value, or by a link's address. */
function pathOf(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const tag = element.tagName.toLowerCase();
  for (const name of ["value", "href"]) {
    const value = element.getAttribute(name);
    if (value) return `${tag}[${name}="${CSS.escape(value)}"]`;
  }
  return tag;
}

/* Whether text in the live part is being selected, to be copied: then it must not change. */
function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && now.contains(selection.anchorNode);
}

function isPaused() {
  return pause.getAttribute("aria-pressed") === "true";
}

function boxes() {
  return [...now.querySelectorAll('input[name="connection"]')];
}

function showAll() {
  const all = document.getElementById("live-all");
  if (!all) return;
  const found = boxes();
  const ticked = found.filter((box) => box.checked).length;
  all.hidden = false;
  all.checked = ticked > 0 && ticked === found.length;
  all.indeterminate = ticked > 0 && ticked < found.length;
}

/* Something to know now; said once, also to screen readers. */
function say(words) {
  if (state.textContent !== words) state.textContent = words;
}
