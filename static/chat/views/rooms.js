/** The list of rooms at the side, the form that goes to another, and the person's own card below. */
import { addressOf } from "../address.js";
import { forgetRoom, rememberedRooms } from "../memory.js";
import { hue, initials, ROOM_PATTERN } from "../text.js";
import { DirectoryView } from "./directory.js";
import { byId, paintAvatar, piece, write } from "./dom.js";

export const ROOM_PROBLEM =
  "A room’s name has 1 to 128 letters (a to z), digits, dots, colons, dashes or underscores.";
export const closedWords = ({ title }) => `“${title}” is closed: nobody can join it now.`;

/** The room that is typed into a field: by its name, or by words that only one of the listed rooms has. */
export function roomOf(field, listed) {
  const typed = field.value.trim().replace(/^#/, "");
  return ROOM_PATTERN.test(typed) ? typed : (listed.only?.name ?? typed);
}

export class RoomsView {
  #list = byId("room-list");
  #input = byId("room-input");
  #listed;
  #current = null;

  /**
   * @param {import("../directory.js").Directory} directory  the rooms that exist
   * @param {{go: (room: string|null) => void, changeName: () => void}} on  a null room is everyone
   */
  constructor(directory, on) {
    this.on = on;
    this.#listed = new DirectoryView("side", directory, this.#input, (room) => this.#take(room));
    directory.on("change", () => (byId("all-rooms-title").hidden = !this.#listed.offered));
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
    this.#input.value = "";
    write(byId("room-problem"), "");
    this.#listed.reset(room);
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
    const room = roomOf(this.#input, this.#listed);
    if (!ROOM_PATTERN.test(room)) {
      write(byId("room-problem"), ROOM_PROBLEM);
      return;
    }
    this.on.go(room);
  }

  #take(room) {
    if (room.closed) write(byId("room-problem"), closedWords(room));
    else this.on.go(room.name);
  }
}

function mark(link, current) {
  if (current) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}
