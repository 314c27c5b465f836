/** Asks for a room's password. It is kept by the session, in memory, and goes nowhere else. */
import { byId, write } from "./dom.js";

export class PasswordView {
  #dialog = byId("password");
  #field = byId("password-field");

  /** @param {{enter: (password: string) => void}} on */
  constructor(on) {
    byId("password-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#field.value) return this.#complain("Type the room’s password.");
      const given = this.#field.value;
      this.#dialog.close();
      on.enter(given);
    });
    byId("password-cancel").addEventListener("click", () => this.#dialog.close());
    this.#field.addEventListener("input", () => this.#complain(""));
    this.#dialog.addEventListener("close", () => {
      this.#field.value = "";
    });
  }

  /** @param {string} room @param {boolean} wrong  a password was given, and refused */
  open(room, wrong) {
    write(byId("password-title"), `#${room} has a password`);
    this.#complain(wrong ? "That is not the room’s password, or you may not join." : "");
    this.#dialog.showModal();
    this.#field.focus();
  }

  close() {
    this.#dialog.close();
  }

  #complain(words) {
    write(byId("password-problem"), words);
    if (words) this.#field.setAttribute("aria-invalid", "true");
    else this.#field.removeAttribute("aria-invalid");
  }
}
