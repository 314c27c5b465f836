/**
 * The rooms that exist as a list below a field: what is typed there narrows it, a click or Enter takes a room.
 * Tab stops at the list once; the arrow keys, Home and End move in it, and from the field into it.
 */
import { addressOf } from "../address.js";
import { plural } from "../text.js";
import { byId, piece, write } from "./dom.js";

const MOST = 1_000; // rows; whoever has more rooms types a part of the name
const TYPING = 600; // ms without a key until a screen reader hears how many match

// Who may join: the word, and what a screen reader says.
const ACCESS = {
  everyone: ["everyone", "everyone may join"],
  signed_in: ["signed-in", "signed-in people may join"],
  members: ["members", "its members may join"],
};
const CLOSED = ["closed", "closed"];

export class DirectoryView {
  #directory;
  #field;
  #root;
  #list;
  #items = new Map(); // a room's key → its <li>
  #matching = []; // the rooms that the list shows
  #text = ""; // that narrows the list
  #current = null;
  #frame = null;
  #timer = null;

  /**
   * @param {string} place  "door" or "side": the elements' ids begin with it
   * @param {import("../directory.js").Directory} directory
   * @param {HTMLInputElement} field
   * @param {(room: import("../directory.js").ListedRoom) => void} take
   */
  constructor(place, directory, field, take) {
    this.#directory = directory;
    this.#field = field;
    this.#root = byId(`${place}-directory`);
    this.#list = this.#root.querySelector("ul");
    this.take = take;
    directory.on("change", () => this.#redraw());
    field.addEventListener("input", () => this.#typed());
    field.addEventListener("keydown", (event) => this.#keyInField(event));
    this.#list.addEventListener("keydown", (event) => this.#keyInList(event));
    this.#list.addEventListener("click", (event) => this.#clicked(event));
    this.#list.addEventListener("focusin", ({ target }) => this.#makeStop(target));
  }

  /** Whether there is a list at all. */
  get offered() {
    return this.#directory.rooms !== null;
  }

  /** The whole list again. @param {string|null} [current]  the room in which the person is */
  reset(current = null) {
    this.#text = "";
    this.#current = current;
    clearTimeout(this.#timer);
    write(this.#root.querySelector("[role=status]"), "");
    this.#draw();
    this.#list.scrollTop = 0;
  }

  /** The room that is meant by typed words which are no room's name: the only one that they match. */
  get only() {
    return this.#text && this.#matching.length === 1 ? this.#matching[0] : null;
  }

  // --- drawing ---------------------------------------------------------------------------------------------

  /** Once a frame at most: changes of many rooms come as many messages. */
  #redraw() {
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    this.#root.hidden = !this.offered;
    this.#matching = this.#directory.matching(this.#text);
    const rooms = this.#matching.slice(0, MOST);
    const focused = this.#list.contains(document.activeElement) ? document.activeElement.closest("li") : null;
    const place = [...this.#list.children].indexOf(focused);
    this.#place(rooms);
    this.#list.hidden = rooms.length === 0;
    this.#note();
    if (focused) this.#keepFocus(focused, place);
    if (!this.#list.querySelector("[tabindex='0']")) this.#makeStop(this.#list.querySelector("a"));
  }

  /** Brings the items in order, moving as few as it takes: what is moved loses the focus. */
  #place(rooms) {
    const keys = new Set(rooms.map(({ key }) => key));
    for (const [key, item] of this.#items) {
      if (keys.has(key)) continue;
      item.remove();
      this.#items.delete(key);
    }
    let next = this.#list.firstElementChild;
    for (const room of rooms) {
      const item = this.#item(room);
      if (next !== item && next?.nextElementSibling === item) {
        next.remove(); // it belongs further down
        next = item;
      }
      if (next === item) next = item.nextElementSibling;
      else this.#list.insertBefore(item, next);
    }
  }

  #item(room) {
    let item = this.#items.get(room.key);
    if (!item) {
      item = piece("listed-room-piece");
      item.firstElementChild.tabIndex = -1;
      this.#items.set(room.key, item);
    }
    const link = item.firstElementChild;
    const [word, said] = room.closed ? CLOSED : (ACCESS[room.access] ?? ["", ""]);
    const name = room.telling ? room.name : "";
    link.href = addressOf(room.name);
    link.setAttribute("aria-label", [room.title, name, said].filter(Boolean).join(", "));
    link.title = room.title;
    link.dataset.key = room.key;
    link.classList.toggle("closed", room.closed);
    if (room.name === this.#current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    write(link.querySelector(".listed-title"), room.title);
    write(link.querySelector(".listed-name"), name);
    write(link.querySelector(".listed-access"), word);
    return item;
  }

  #note() {
    const more = this.#matching.length - MOST;
    let words = "";
    if (more > 0) words = `And ${plural(more, "room", "rooms")} more: type a part of the name.`;
    else if (this.#directory.rooms?.length === 0) words = "No rooms yet: type a name to open one.";
    else if (this.#matching.length === 0) words = "No room of this list matches. A new name opens a new room.";
    const note = this.#root.querySelector(".directory-note");
    write(note, words);
    note.hidden = !words;
  }

  // --- focus and keys --------------------------------------------------------------------------------------

  /** Where the focused room was moved it keeps the focus; where it went, its neighbour gets it. */
  #keepFocus(focused, place) {
    const item = focused.isConnected ? focused : (this.#list.children[place] ?? this.#list.lastElementChild);
    const link = item?.firstElementChild ?? this.#field;
    if (link !== document.activeElement) link.focus();
  }

  #makeStop(link) {
    for (const stop of this.#list.querySelectorAll("[tabindex='0']")) stop.tabIndex = -1;
    if (link) link.tabIndex = 0;
  }

  #keyInField(event) {
    const first = this.#list.querySelector("a");
    if (event.key !== "ArrowDown" || event.isComposing || !first || this.#root.hidden) return;
    event.preventDefault();
    first.focus();
  }

  #keyInList(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const items = [...this.#list.children];
    const place = items.indexOf(event.target.closest("li"));
    const to = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) {
      // Letters go on narrowing the list.
      if (event.key.length === 1 && event.key !== " ") this.#field.focus();
      return;
    }
    event.preventDefault();
    if (to < 0) this.#field.focus();
    else items[to]?.firstElementChild.focus();
  }

  #typed() {
    this.#text = this.#field.value;
    this.#draw();
    this.#list.scrollTop = 0;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#announce(), TYPING);
  }

  /** Only what the person asked for is announced: rooms come and go in silence. */
  #announce() {
    const count = this.#matching.length;
    const words = !this.#text.trim() ? "" : count === 1 ? "1 room matches." : `${count || "No"} rooms match.`;
    write(this.#root.querySelector("[role=status]"), this.#directory.rooms?.length ? words : "");
  }

  #clicked(event) {
    const link = event.target.closest("a");
    // With a key held the browser opens another window or tab, as people expect of a link.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const room = this.#matching.find(({ key }) => key === link.dataset.key);
    if (room) this.take(room);
  }
}
