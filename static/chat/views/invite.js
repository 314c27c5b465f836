/** The dialog with the conversation's link. Without the clipboard, too: the link is there to select. */
import { inviteLink } from "../address.js";
import { byId, write } from "./dom.js";

export class InviteView {
  #dialog = byId("invite");
  #link = byId("invite-link");

  /** @param {() => string|null} room */
  constructor(room) {
    this.room = room;
    byId("invite-button").addEventListener("click", () => this.open());
    for (const button of document.querySelectorAll("[data-invite]"))
      button.addEventListener("click", () => this.open());
    byId("invite-copy").addEventListener("click", () => this.#copy());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // a tap on the backdrop
    });
  }

  open() {
    const room = this.room();
    write(byId("invite-title"), room === null ? "Invite people" : `Invite people to ${room}`);
    write(byId("invite-status"), "");
    this.#link.value = inviteLink(room);
    byId("invite-open").href = this.#link.value;
    this.#dialog.showModal();
    this.#link.select();
  }

  async #copy() {
    this.#link.select();
    try {
      await navigator.clipboard.writeText(this.#link.value);
      write(byId("invite-status"), "Copied.");
    } catch {
      // No clipboard without HTTPS or permission; the link is selected, so a key does it.
      write(byId("invite-status"), "The link is selected: copy it with your keyboard or the menu.");
    }
  }
}
