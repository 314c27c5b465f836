/** The first screen: who are you, and where do you want to go? */
import { rememberedRooms } from "../memory.js";
import { cleanName, hue, initials, ROOM_PATTERN } from "../text.js";
import { DirectoryView } from "./directory.js";
import { byId, paintAvatar, write } from "./dom.js";
import { closedWords, ROOM_PROBLEM, roomOf } from "./rooms.js";

const FIRST_ROOM = "lounge";

export class DoorView {
  #door = byId("door");
  #form = byId("door-form");
  #name = byId("door-name"); // not there for a signed-in user
  #room = byId("door-room");
  #rooms;

  /**
   * @param {string|null} username  who is signed in
   * @param {import("../directory.js").Directory} directory  the rooms that exist
   * @param {(choice: {name: string, room: string|null}) => void} enter
   */
  constructor(username, directory, enter) {
    this.enter = enter;
    this.#rooms = new DirectoryView("door", directory, this.#room, (room) => this.#take(room));
    directory.on("change", () => this.#suggest());
    if (username)
      paintAvatar(this.#door.querySelector(".signed-in .avatar"), initials(username), hue(username));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submitted();
    });
    this.#form.addEventListener("change", () => this.#placeChanged());
    this.#form.addEventListener("input", (event) => this.#complain(event.target, ""));
  }

  /** @param {{name?: string, room?: string|null, everyone?: boolean, problem?: string}} fill */
  open({ name = "", room = null, everyone = false, problem = "" }) {
    if (this.#name) this.#name.value = name;
    this.#room.value = room ?? rememberedRooms()[0] ?? FIRST_ROOM;
    this.#form.elements.place.value = everyone ? "everyone" : "room";
    this.#rooms.reset();
    this.#suggest();
    this.#door.hidden = false;
    this.#placeChanged();
    this.#complain(this.#room, problem);
    const first = this.#name && !name ? this.#name : this.#room;
    first.focus();
    if (first === this.#room) first.select(); // what is typed takes its place
  }

  close() {
    this.#door.hidden = true;
  }

  /** The browser's own list of the rooms visited last, where it would not cover a better one. */
  #suggest() {
    const known = this.#rooms.offered ? [] : rememberedRooms();
    byId("door-rooms").replaceChildren(...known.map((room) => new Option(room, room)));
  }

  #take(room) {
    if (room.closed) {
      this.#complain(this.#room, closedWords(room));
      return;
    }
    this.#room.value = room.name;
    this.#submitted();
  }

  #placeChanged() {
    const everyone = this.#form.elements.place.value === "everyone";
    byId("door-room-field").hidden = everyone;
    byId("door-everyone-hint").hidden = !everyone;
  }

  #submitted() {
    const name = this.#name ? cleanName(this.#name.value) : "";
    const room = this.#form.elements.place.value === "everyone" ? null : roomOf(this.#room, this.#rooms);
    const nameWords = this.#name && !name ? "Others need something to call you." : "";
    const roomWords = room !== null && !ROOM_PATTERN.test(room) ? ROOM_PROBLEM : "";
    this.#complain(this.#room, roomWords);
    if (this.#name) this.#complain(this.#name, nameWords);
    if (nameWords) this.#name.focus();
    else if (roomWords) this.#room.focus();
    else this.enter({ name, room });
  }

  #complain(field, words) {
    const place = byId(`${field.id}-problem`);
    if (!place) return;
    write(place, words);
    if (words) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
}
