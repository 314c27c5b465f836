/**
 * Who is in the room. A member list arrives once after each welcome, changes come as `presence`; a change
 * that overtakes the list is applied again on top of it, so neither order loses anybody.
 *
 * Events: `change`.
 *
 * @typedef {object} Person
 * @property {string} key       one for all the windows of a signed-in user
 * @property {string} name
 * @property {boolean} verified
 * @property {boolean} self
 * @property {number} windows   connections that they have in this room
 */
import { Emitter } from "./emitter.js";
import { displayName } from "./text.js";

const byName = new Intl.Collator(undefined, { numeric: true });
const EARLY_LIMIT = 1_000; // changes kept for a list that may never come

export class People extends Emitter {
  #members = new Map(); // connection id → {id, name, user}
  #early = null; // changes since the welcome, until the list is there
  #self = null;

  /** Whether the list is known at all, and whether the server cut it short. */
  known = false;
  truncated = false;
  /** In rooms with more members the server tells nobody who comes and goes. */
  presenceLimit = Infinity;

  /** A new connection is in: `self` is {id, name, user} of this window. */
  welcome(self) {
    this.#self = self;
    this.#early = [];
  }

  /** @param {{id: string, name: string|null, user: object|null}[]} members */
  list(members, truncated) {
    this.#members = new Map(members.map((member) => [member.id, member]));
    if (this.#self) this.#members.set(this.#self.id, this.#self);
    for (const { member, online } of this.#early ?? []) this.#apply(member, online);
    this.#early = null;
    this.known = true;
    this.truncated = truncated;
    this.emit("change");
  }

  /**
   * @returns {boolean} true when the name came or went; false when another connection has it too: a second
   *   window, or the one that a broken connection left behind until the server noticed
   */
  change(member, online) {
    if (this.#early?.length < EARLY_LIMIT) this.#early.push({ member, online });
    this.#apply(member, online);
    this.emit("change");
    return !this.#others(member);
  }

  /** Whether the room may have grown or shrunk unheard. */
  get unheard() {
    return this.#members.size >= this.presenceLimit;
  }

  clear() {
    this.#members.clear();
    this.#early = this.#self = null;
    this.known = this.truncated = false;
    this.emit("change");
  }

  /** @returns {Person[]} this window's own person first, the others by name */
  all() {
    const people = new Map();
    for (const member of this.#members.values()) {
      const key = personKey(member);
      const person = people.get(key) ?? {
        key,
        name: displayName(member),
        verified: Boolean(member.user),
        self: false,
        windows: 0,
      };
      person.windows++;
      person.self ||= member.id === this.#self?.id;
      people.set(key, person);
    }
    return [...people.values()].sort((a, b) => b.self - a.self || byName.compare(a.name, b.name));
  }

  #apply(member, online) {
    if (online) this.#members.set(member.id, member);
    else this.#members.delete(member.id);
  }

  /** Whether somebody else, this window's own person apart, goes by the same name. */
  #others({ id, name, user }) {
    const called = displayName({ id, name, user });
    return [...this.#members.values()].some(
      (known) =>
        known.id !== id &&
        (known.id !== this.#self?.id || (user && known.user?.id === user.id)) &&
        Boolean(known.user) === Boolean(user) &&
        displayName(known) === called,
    );
  }
}

const personKey = ({ id, user }) => (user ? `user:${user.id}` : `connection:${id}`);
