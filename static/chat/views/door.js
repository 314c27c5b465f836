/** The first screen: who are you, and where do you want to go? */
import { rememberedRooms } from "../memory.js";
import { cleanName, hue, initials, ROOM_PATTERN } from "../text.js";
import { byId, paintAvatar, write } from "./dom.js";
import { ROOM_PROBLEM } from "./rooms.js";

const FIRST_ROOM = "lounge";

export class DoorView {
  #door = byId("door");
  #form = byId("door-form");
  #name = byId("door-name"); // not there for a signed-in user
  #room = byId("door-room");

  /**
   * @param {string|null} username  who is signed in
   * @param {(choice: {name: string, room: string|null}) => void} enter
   */
  constructor(username, enter) {
    this.enter = enter;
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
    byId("door-rooms").replaceChildren(...rememberedRooms().map((known) => new Option(known, known)));
    this.#door.hidden = false;
    this.#placeChanged();
    this.#complain(this.#room, problem);
    const first = this.#name && !name ? this.#name : this.#room;
    first.focus();
  }

  close() {
    this.#door.hidden = true;
  }

  #placeChanged() {
    const everyone = this.#form.elements.place.value === "everyone";
    byId("door-room-field").hidden = everyone;
    byId("door-everyone-hint").hidden = !everyone;
  }

  #submitted() {
    const name = this.#name ? cleanName(this.#name.value) : "";
    const room =
      this.#form.elements.place.value === "everyone" ? null : this.#room.value.trim().replace(/^#/, "");
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
