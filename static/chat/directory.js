/**
 * The rooms that exist, as far as the server shows them to this visitor, in the order of their titles.
 *
 * @typedef {object} ListedRoom
 * @property {string} key      stays the same when the room is renamed
 * @property {string} name     as in its address
 * @property {string} title    for people: its title, or its name where it has none
 * @property {boolean} telling  the name says something that the title does not
 * @property {string} access   "everyone", "signed_in" or "members": who may join
 * @property {boolean} closed  nobody may
 */
import { Emitter } from "./emitter.js";
import { LiveRows } from "./resource.js";
import { ROOM_PATTERN } from "./text.js";

const WANTED = { schema: "chat", entity: "rooms", sort: [{ column: "title", direction: "asc" }] };
const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** Events: `change`, when `rooms` are others than before. */
export class Directory extends Emitter {
  #live;
  #rooms = null; // sorted, until something changes

  /** @param {string} address  of the resources' endpoint */
  constructor(address) {
    super();
    this.#live = new LiveRows(address, WANTED);
    this.#live.on("change", () => {
      this.#rooms = null;
      this.emit("change");
    });
  }

  open() {
    this.#live.open();
  }

  close() {
    this.#live.close();
  }

  again() {
    this.#live.again();
  }

  /** @returns {ListedRoom[]|null} null: the server has shown none, or does not want to */
  get rooms() {
    if (this.#live.rows === null) return null;
    return (this.#rooms ??= [...this.#live.rows].flatMap(listed).sort(byTitle));
  }

  /** The rooms in whose title or name the text occurs, in any case, with or without accents. */
  matching(text) {
    const wanted = folded(text.trim().replace(/^#/, ""));
    const rooms = this.rooms ?? [];
    return wanted ? rooms.filter(({ searched }) => searched.includes(wanted)) : rooms;
  }
}

function listed([key, { name, title, access, closed }]) {
  if (typeof name !== "string" || !ROOM_PATTERN.test(name)) return []; // no address leads there
  const shown = (typeof title === "string" && title.trim()) || name;
  const searched = folded(`${shown}\n${name}`);
  const telling = lettersOf(shown) !== lettersOf(name);
  return [{ key, name, title: shown, telling, access, closed: closed === true, searched }];
}

function byTitle(one, other) {
  return order.compare(one.title, other.title) || order.compare(one.name, other.name);
}

/** "Film night" and "film-night" are the same to a reader. */
const lettersOf = (text) => folded(text).replace(/[^\p{L}\p{N}]/gu, "");
const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
