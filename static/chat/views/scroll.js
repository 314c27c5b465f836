/**
 * Keeps the newest message in view for whoever is at the end of the log, and counts what the others have not
 * seen: those who scrolled up, and those whose tab is hidden.
 */
import { plural } from "../text.js";
import { byId, write } from "./dom.js";

const NEAR_THE_END = 48; // px
const HAND_LIMIT = 400; // ms after a wheel, key or finger that a movement counts as the person's
const UP_KEYS = new Set(["ArrowUp", "PageUp", "Home", " "]);

export class ScrollView {
  #scroller = byId("scroller");
  #button = byId("unread");
  #words = byId("unread-words");
  #atEnd = true;
  #scheduled = false;
  #hand = -Infinity; // when the person last did something that may scroll up
  #unread = 0;

  /** @param {{unread: (count: number) => void}} on  called when the number of unseen messages changes */
  constructor(on) {
    this.on = on;
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#scroller.addEventListener("wheel", ({ deltaY }) => deltaY < 0 && this.#moves(), { passive: true });
    this.#scroller.addEventListener("keydown", ({ key }) => UP_KEYS.has(key) && this.#moves());
    for (const touch of ["touchmove", "pointerdown"]) {
      this.#scroller.addEventListener(touch, () => this.#moves(), { passive: true });
    }
    this.#button.addEventListener("click", () => {
      this.toEnd();
      byId("say").focus({ preventScroll: true });
    });
    document.addEventListener("visibilitychange", () => this.#look());
    new ResizeObserver(() => this.#atEnd && this.#scheduleEnd()).observe(this.#scroller);
  }

  /**
   * Something was added to the log.
   * @param {boolean} own      the person wrote it here, so they want to see it
   * @param {boolean} counts   it is a message from somebody else
   * @returns {boolean} true when it is the first one unseen
   */
  added(own, counts) {
    if (own) this.#atEnd = true;
    if (this.#atEnd) this.#scheduleEnd();
    if (!counts || (this.#atEnd && !document.hidden)) return false;
    this.#count(this.#unread + 1);
    return this.#unread === 1;
  }

  toEnd() {
    this.#atEnd = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#look();
  }

  reset() {
    this.#atEnd = true;
    this.#count(0);
  }

  #moves() {
    this.#hand = performance.now();
  }

  #scrolled() {
    // Messages that came since the last frame have pushed the end away; nobody has scrolled.
    if (this.#scheduled && performance.now() - this.#hand > HAND_LIMIT) return;
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_THE_END;
    this.#look();
  }

  #look() {
    if (document.hidden) return;
    if (this.#atEnd) this.#count(0);
    else this.#draw();
  }

  /** One scroll a frame, however many messages arrive in it. */
  #scheduleEnd() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (this.#atEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    });
  }

  #count(unread) {
    if (unread !== this.#unread) {
      this.#unread = unread;
      this.on.unread(unread);
    }
    this.#draw();
  }

  #draw() {
    this.#button.hidden = this.#atEnd;
    write(this.#words, this.#unread ? plural(this.#unread, "new message", "new messages") : "To the newest");
  }
}
