/** Units as the API has them, a page at a time: loaded when looked at, and again when one of them has changed. */

import { changedPages } from "./model/units.js";
import { get, jobPath } from "./net/api.js";
import { complain } from "./acting.js";

/** Units of one page. */
export const PAGE = 100;
/** Milliseconds within which changes are taken together. */
const TOGETHER = 300;

export class UnitPages {
  /**
   * @param {{namespace: string, name: string}} job
   * @param {string} stage
   * @param {() => void} onChange
   */
  constructor(job, stage, onChange) {
    this.job = job;
    this.stage = stage;
    this.onChange = onChange;
    /** @type {Map<number, import("./model/types.js").Unit>} */
    this.units = new Map();
    /** @type {Map<number, "loading" | "loaded" | "stale">} */
    this.pages = new Map();
    /** @type {Set<number>} */
    this.wanted = new Set();
    /** @type {Uint8Array | undefined} */
    this.states = undefined;
    this.timer = 0;
    this.left = new AbortController();
  }

  /**
   * A unit, if it is known; being looked at, it soon is.
   * @param {number} index
   */
  at(index) {
    return this.units.get(index);
  }

  /**
   * Say which units are looked at now.
   * @param {Iterable<number>} indexes
   */
  look(indexes) {
    this.wanted = new Set([...indexes].map((index) => Math.floor(index / PAGE)));
    this.#load(0);
  }

  /**
   * Take notice of how the units stand now: what is known of those that changed is old.
   * @param {Uint8Array} states
   */
  stale(states) {
    const known = this.states;
    this.states = states;
    if (known === undefined) return;
    for (const page of changedPages(known, states, PAGE)) if (this.pages.has(page)) this.pages.set(page, "stale");
    this.#load(TOGETHER);
  }

  /** Load nothing any more. */
  leave() {
    clearTimeout(this.timer);
    this.left.abort();
  }

  /** @param {number} wait */
  #load(wait) {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      for (const page of this.wanted) {
        const is = this.pages.get(page);
        if (is === undefined || is === "stale") void this.#loadPage(page);
      }
    }, wait);
  }

  /** @param {number} page */
  async #loadPage(page) {
    this.pages.set(page, "loading");
    const query = new URLSearchParams({ stage: this.stage, offset: `${page * PAGE}`, limit: `${PAGE}` });
    try {
      const { items } = await get(`${jobPath(this.job, "units")}?${query}`, this.left.signal);
      for (const unit of items) this.units.set(unit.index, unit);
      if (this.pages.get(page) === "loading") this.pages.set(page, "loaded");
      else this.#load(TOGETHER);
      this.onChange();
    } catch (error) {
      if (this.left.signal.aborted) return;
      // Looked at again with the next change, not in a circle.
      this.pages.set(page, "loaded");
      complain(error);
    }
  }
}
