/** The log: one list item for each item of the timeline. */
import { clockTime, dayName, fullTime, hue, initials, listNames, sameDay } from "../text.js";
import { byId, linked, paintAvatar, piece, write } from "./dom.js";

const GROUP_WINDOW = 300_000; // ms: messages of one speaker this close stand together
const LONG_TEXT = 1_500; // characters from which a message is folded
const LONG_LINES = 18;

const DELIVERY_WORDS = {
  queued: "Waiting to be sent",
  sending: "Sending",
  sent: "Sent",
  failed: "Not sent",
};

export class MessagesView {
  #settled = byId("messages");
  #pending = byId("pending");
  #scroller = byId("scroller");
  #elements = new Map(); // key → list item
  #items = new WeakMap(); // list item → timeline item
  #newLine = null;

  /**
   * @param {import("../timeline.js").Timeline} timeline
   * @param {{retry: (key: string) => void, discard: (key: string) => void, added: (item: object) => void}} on
   */
  constructor(timeline, on) {
    this.on = on;
    timeline.on("add", (item) => this.#add(item));
    timeline.on("settle", (item) => this.#settle(item));
    timeline.on("change", (item) => this.#change(item));
    timeline.on("drop", (item) => this.#drop(item));
    timeline.on("clear", () => this.#clear());
  }

  /** Draws the line "New" above an item: the first that the person has not seen. */
  markNew(key) {
    this.#newLine?.remove();
    this.#newLine = line("New", "new-line");
    this.#elements.get(key)?.before(this.#newLine);
  }

  unmarkNew() {
    this.#newLine?.remove();
    this.#newLine = null;
  }

  #add(item) {
    const element = this.#build(item);
    const pending = item.kind === "message" && item.own && item.status !== "sent";
    this.#elements.set(item.key, element);
    this.#items.set(element, item);
    this.#place(element, item, pending ? this.#pending : this.#settled);
    this.#scroller.classList.remove("is-empty");
    this.on.added(item);
  }

  #settle(item) {
    const element = this.#elements.get(item.key);
    element.remove();
    fillMessage(element, item);
    this.#place(element, item, this.#settled);
  }

  #change(item) {
    const element = this.#elements.get(item.key);
    if (item.kind === "message") fillMessage(element, item);
    if (item.kind === "presence") write(element.firstElementChild, presenceWords(item));
  }

  #drop(item) {
    const element = this.#elements.get(item.key);
    const next = element.nextElementSibling;
    this.#elements.delete(item.key);
    element.remove();
    next?.classList.remove("follows");
    const first = this.#settled.firstElementChild;
    if (first?.classList.contains("day") && !this.#items.has(first.nextElementSibling ?? first))
      first.remove();
    this.#scroller.classList.toggle("is-empty", this.#elements.size === 0);
  }

  #clear() {
    this.#elements.clear();
    this.#newLine = null;
    this.#settled.replaceChildren();
    this.#pending.replaceChildren();
    this.#scroller.classList.add("is-empty");
  }

  #build(item) {
    if (item.kind === "presence") return line(presenceWords(item), "presence");
    if (item.kind === "notice" && item.level !== "announcement") return line(item.text, item.level);
    if (item.kind === "notice") return announcement(item);
    const element = piece("message-piece");
    fillMessage(element, item);
    element.querySelector(".retry").onclick = () => this.on.retry(item.key);
    element.querySelector(".discard").onclick = () => this.on.discard(item.key);
    return element;
  }

  #place(element, item, list) {
    const before = list.lastElementChild ?? (list === this.#pending ? this.#settled.lastElementChild : null);
    const previous = this.#items.get(before);
    if (
      list === this.#settled &&
      (!previous || !sameDay(previous.at, item.at)) &&
      this.#needsDay(item, previous)
    ) {
      list.append(line(dayName(item.at), "day"));
      element.classList.remove("follows");
    } else {
      element.classList.toggle("follows", continues(previous, item));
    }
    list.append(element);
  }

  /** A day is named where it changes; the first item of all only when it is not from today. */
  #needsDay(item, previous) {
    return previous ? true : !sameDay(item.at, new Date());
  }
}

function continues(previous, item) {
  if (previous?.kind !== "message" || item.kind !== "message") return false;
  if (previous.speaker !== item.speaker || previous.toEveryone !== item.toEveryone) return false;
  return item.at - previous.at < GROUP_WINDOW && previous.status !== "failed";
}

function fillMessage(element, item) {
  const find = (selector) => element.querySelector(selector);
  element.classList.toggle("own", item.own);
  element.classList.toggle("to-all", item.toEveryone);
  element.dataset.status = item.status;
  paintAvatar(find(".avatar"), initials(item.author), hue(item.author));
  write(find(".author"), item.own ? "You" : item.author);
  find(".verified").hidden = !item.verified;
  find(".to-everyone").hidden = !item.toEveryone;
  fillText(element, item.text);
  const time = find("time");
  time.dateTime = item.at.toISOString();
  time.title = fullTime(item.at);
  write(time, clockTime(item.at));
  const delivery = find(".delivery");
  delivery.hidden = !item.own;
  delivery.title = DELIVERY_WORDS[item.status];
  write(delivery, item.own ? DELIVERY_WORDS[item.status] : "");
  find(".failure").hidden = item.status !== "failed";
  write(find(".failure-words"), item.problem ?? "");
}

function fillText(element, text) {
  const place = element.querySelector(".text");
  if (place.textContent === text) return;
  place.replaceChildren(...linked(text));
  const long = text.length > LONG_TEXT || text.split("\n", LONG_LINES + 1).length > LONG_LINES;
  const button = element.querySelector(".show-all");
  place.classList.toggle("folded", long);
  button.hidden = !long;
  button.onclick = () => {
    place.classList.remove("folded");
    button.hidden = true;
  };
}

function presenceWords({ joined, left }) {
  const parts = [];
  if (joined.length) parts.push(`${listNames(joined)} joined`);
  if (left.length) parts.push(`${listNames(left)} left`);
  return parts.join(" · ");
}

function line(words, kind) {
  const element = piece("line-piece");
  element.classList.add(kind);
  write(element.firstElementChild, words);
  return element;
}

function announcement(item) {
  const element = piece("announcement-piece");
  element.querySelector(".text").replaceChildren(...linked(item.text));
  write(element.querySelector("time"), clockTime(item.at));
  return element;
}
