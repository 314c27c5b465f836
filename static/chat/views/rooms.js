/** The list of rooms at the side, the form that goes to another, and the person's own card below. */
import { addressOf } from "../address.js";
import { forgetRoom, rememberedRooms } from "../memory.js";
import { hue, initials, ROOM_PATTERN } from "../text.js";
import { byId, paintAvatar, piece, write } from "./dom.js";

export const ROOM_PROBLEM =
  "A room’s name has 1 to 128 letters (a to z), digits, dots, colons, dashes or underscores.";

export class RoomsView {
  #list = byId("room-list");
  #input = byId("room-input");
  #current = null;

  /** @param {{go: (room: string|null) => void, changeName: () => void}} on  a null room is everyone */
  constructor(on) {
    this.on = on;
    byId("rooms").addEventListener("click", (event) => this.#clicked(event));
    byId("room-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submitted();
    });
    this.#input.addEventListener("input", () => write(byId("room-problem"), ""));
    byId("change-name")?.addEventListener("click", () => on.changeName());
  }

  /** Who the person is; the server may say otherwise than the page, which was made earlier. */
  me(name, signedIn) {
    write(byId("me-name"), name);
    paintAvatar(byId("me-avatar"), initials(name), hue(name));
    byId("me-signed-in").hidden = !signedIn;
    byId("me-visitor").hidden = signedIn;
  }

  /** @param {string|null} room  where the person is now */
  show(room) {
    this.#current = room;
    mark(byId("everyone-link"), room === null);
    const rooms = rememberedRooms();
    if (room !== null && !rooms.includes(room)) rooms.unshift(room); // nothing could be remembered
    this.#list.replaceChildren(...rooms.map((known) => this.#row(known)));
  }

  #row(room) {
    const row = piece("room-piece");
    const link = row.querySelector("a");
    link.href = addressOf(room);
    link.dataset.room = room;
    write(link.querySelector("span"), room);
    mark(link, room === this.#current);
    const forget = row.querySelector(".forget");
    forget.hidden = room === this.#current;
    forget.dataset.forget = room;
    write(forget.querySelector("span"), `Remove ${room} from the list`);
    return row;
  }

  #clicked(event) {
    const forget = event.target.closest("[data-forget]");
    if (forget) {
      forgetRoom(forget.dataset.forget);
      forget.closest("li").remove();
      this.#input.focus();
      return;
    }
    const link = event.target.closest("a.room-link");
    // With a key held the browser opens another window or tab, as people expect of a link.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.on.go(link.dataset.room ?? null);
  }

  #submitted() {
    const room = this.#input.value.trim().replace(/^#/, "");
    if (!ROOM_PATTERN.test(room)) {
      write(byId("room-problem"), ROOM_PROBLEM);
      return;
    }
    this.#input.value = "";
    this.on.go(room);
  }
}

function mark(link, current) {
  if (current) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}
