/**
 * What the log shows, oldest first: settled items in the order of the server, then this window's own messages
 * that the server has not sent back yet. Bounded: the oldest settled items go first.
 *
 * Events: `add` and `settle` (an own message takes its place among the settled) with the item, `change` with
 * the item, `drop` with the item, `clear`.
 *
 * @typedef {object} Message
 * @property {"message"} kind
 * @property {string} key
 * @property {string} author      name to show
 * @property {boolean} verified   the server vouches for the name
 * @property {string|null} speaker  who, for grouping: stays the same while name and connection do
 * @property {string} text
 * @property {Date} at
 * @property {boolean} own
 * @property {boolean} toEveryone a global message, seen inside a room
 * @property {"queued"|"sending"|"sent"|"failed"} status
 * @property {string|null} problem  why it failed, in words
 *
 * @typedef {object} Presence
 * @property {"presence"} kind
 * @property {string} key
 * @property {string[]} joined
 * @property {string[]} left
 * @property {Date} at
 *
 * @typedef {object} Notice  a line from the server or from this page
 * @property {"notice"} kind
 * @property {string} key
 * @property {"announcement"|"info"|"problem"} level
 * @property {string} text
 * @property {Date} at
 */
import { Emitter } from "./emitter.js";

export const KEPT_ITEMS = 500;
const PRESENCE_WINDOW = 120_000; // ms: comings and goings this close share a line
const PRESENCE_NAMES = 50; // names that one line holds

export class Timeline extends Emitter {
  #settled = [];
  #pending = new Map(); // key → Message
  #keys = 0;

  /** @param {Omit<Message, "kind"|"key">} message */
  add(message) {
    return this.#append({ kind: "message", key: this.#key(), ...message });
  }

  /** An own message, at the end until the server sends it back. */
  addPending(key, message) {
    const item = { kind: "message", key, ...message };
    this.#pending.set(key, item);
    this.emit("add", item);
    return item;
  }

  isPending(key) {
    return this.#pending.has(key);
  }

  /** @param {string} key @param {Partial<Message>} changes */
  change(key, changes) {
    const item = this.#pending.get(key);
    if (item) this.emit("change", Object.assign(item, changes));
  }

  /** The server has sent the message back: it moves behind everything that came before it. */
  settle(key, changes) {
    const item = this.#pending.get(key);
    if (!item) return;
    this.#pending.delete(key);
    this.#settled.push(Object.assign(item, changes));
    this.emit("settle", item);
    this.#trim();
  }

  /** An own message that the person gave up, or sends again under another key. */
  remove(key) {
    const item = this.#pending.get(key);
    if (item && this.#pending.delete(key)) this.emit("drop", item);
  }

  notice(level, text, at = new Date()) {
    return this.#append({ kind: "notice", key: this.#key(), level, text, at });
  }

  /** Comings and goings in a row share one line; whoever leaves and comes back at once leaves no trace. */
  presence(name, status, at) {
    const last = this.#settled.at(-1);
    if (
      last?.kind === "presence" &&
      at - last.at < PRESENCE_WINDOW &&
      last.joined.length + last.left.length < PRESENCE_NAMES
    ) {
      const [to, from] = status === "online" ? [last.joined, last.left] : [last.left, last.joined];
      const gone = from.indexOf(name);
      if (gone >= 0) from.splice(gone, 1);
      if (gone < 0 || status === "offline") to.push(name);
      if (last.joined.length + last.left.length) return this.emit("change", last);
      this.#settled.pop();
      return this.emit("drop", last);
    }
    const names = { joined: status === "online" ? [name] : [], left: status === "online" ? [] : [name] };
    this.#append({ kind: "presence", key: this.#key(), ...names, at });
  }

  clear() {
    this.#settled = [];
    this.#pending.clear();
    this.emit("clear");
  }

  #append(item) {
    this.#settled.push(item);
    this.emit("add", item);
    this.#trim();
    return item;
  }

  #trim() {
    while (this.#settled.length > KEPT_ITEMS) this.emit("drop", this.#settled.shift());
  }

  #key() {
    return `item-${++this.#keys}`;
  }
}
