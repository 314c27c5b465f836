/** Who is here: the list at the side, and the count in the head. */
import { hue, initials, plural } from "../text.js";
import { byId, paintAvatar, piece, write } from "./dom.js";

const SHOWN = 200; // people in the list; the count says how many more there are

export class PeopleView {
  #list = byId("people-list");
  #rows = new Map(); // person key → list item
  #scheduled = false;

  /** @param {import("../people.js").People} people @param {() => string|null} room  null: everyone */
  constructor(people, room) {
    this.people = people;
    this.room = room;
    people.on("change", () => this.#schedule());
  }

  /** One drawing a frame, however many people come at once. */
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => {
      this.#scheduled = false;
      this.#draw();
    }, 16);
  }

  #draw() {
    const all = this.people.all();
    const shown = all.slice(0, SHOWN);
    const rows = shown.map((person) => this.#row(person));
    const kept = new Set(shown.map(({ key }) => key));
    for (const key of this.#rows.keys()) if (!kept.has(key)) this.#rows.delete(key);
    rows.forEach((row, index) => {
      if (this.#list.children[index] !== row)
        this.#list.insertBefore(row, this.#list.children[index] ?? null);
    });
    while (this.#list.children.length > rows.length) this.#list.lastElementChild.remove();
    this.#drawCounts(all.length, all.length - shown.length);
  }

  #row(person) {
    const row = this.#rows.get(person.key) ?? piece("person-piece");
    this.#rows.set(person.key, row);
    paintAvatar(row.querySelector(".avatar"), initials(person.name), hue(person.name));
    write(row.querySelector("bdi"), person.name);
    row.querySelector(".verified").hidden = !person.verified;
    const windows = person.windows > 1 ? `${person.windows} windows` : "";
    write(row.querySelector(".person-note"), person.self ? "you" : windows);
    return row;
  }

  #drawCounts(count, hidden) {
    const known = this.people.known;
    const more = this.people.truncated || this.people.unheard ? "+" : "";
    write(byId("people-count"), known ? `${count}${more}` : "");
    write(byId("people-badge"), known ? `${count}${more}` : "");
    write(byId("room-count"), this.#headline(count, more));
    write(byId("people-limit"), known && this.people.unheard ? this.#limit() : "");
    write(byId("people-note"), this.#note(count, hidden));
  }

  #headline(count, more) {
    if (this.room() === null) return "Reaches every open window";
    if (!this.people.known) return "";
    return count === 1 && !more
      ? "Only you are here"
      : `${plural(`${count}${more}`, "person", "people")} here`;
  }

  #limit() {
    return `In a room of more than ${this.people.presenceLimit} nobody is told who comes and goes.`;
  }

  #note(count, hidden) {
    if (this.room() === null)
      return "What is said here reaches all who are connected, in whatever room. There is no list of them.";
    if (!this.people.known) return "";
    if (this.people.truncated) return "More people are here than this list holds.";
    if (hidden) return `and ${hidden} more`;
    return count === 1 ? "Nobody else is here. Send them the link?" : "";
  }
}
