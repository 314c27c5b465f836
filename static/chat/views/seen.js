/**
 * Whether somebody can see one of these elements: what is kept up only for being looked at can end meanwhile.
 * An element in a drawer that is shut, or in a part of the page that is not shown, is not seen.
 */

const AWAY = 60_000; // ms that a page may be hidden: people look at another tab and come back
const OUT_OF_SIGHT = 5_000; // the same for the elements on a page that is looked at

// Below the fold counts as seen, beside the page does not: there the drawers are.
const MARGIN = "10000px -1px";

export class Seen {
  #visible = new Set();
  #on = false;
  #timer = null;

  /**
   * @param {Element[]} elements
   * @param {{comes: () => void, goes: () => void}} tell  called in turn, comes first
   */
  constructor(elements, tell) {
    this.tell = tell;
    const observer = new IntersectionObserver((entries) => this.#moved(entries), { rootMargin: MARGIN });
    for (const element of elements) observer.observe(element);
    document.addEventListener("visibilitychange", () => this.#weigh());
  }

  #moved(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#visible.add(target);
      else this.#visible.delete(target);
    }
    this.#weigh();
  }

  #weigh() {
    clearTimeout(this.#timer);
    const shown = this.#visible.size > 0;
    if (shown && !document.hidden) this.#become(true);
    else if (this.#on) this.#timer = setTimeout(() => this.#become(false), shown ? AWAY : OUT_OF_SIGHT);
  }

  #become(on) {
    if (on === this.#on) return;
    this.#on = on;
    if (on) this.tell.comes();
    else this.tell.goes();
  }
}
