/** How the units of a stage stand: one byte a unit, so that 10,000 of them cost nothing. */

import { fill } from "./ranges.js";

/** States by their code: the byte at a unit's index. */
export const STATES = /** @type {const} */ (["waiting", "active", "done", "skipped", "failed", "waitingForApproval"]);

/** What people read. */
export const LABELS = {
  waiting: "waiting",
  active: "running",
  done: "done",
  skipped: "skipped",
  filtered: "filtered",
  failed: "failed",
  waitingForApproval: "waits for approval",
};

/** In the order of a legend. */
export const ORDER = ["done", "active", "failed", "waitingForApproval", "skipped", "waiting"];

const CODE = Object.fromEntries(STATES.map((state, code) => [state, code]));

/**
 * States of a stage's units.
 * @param {import("./types.js").StageReport} stage
 * @returns {Uint8Array} Code of each unit's state, see STATES.
 */
export function paint(stage) {
  const states = new Uint8Array(stage.total);
  const { ranges } = stage;
  fill(states, ranges.waitingForApproval, CODE.waitingForApproval);
  fill(states, ranges.active, CODE.active);
  fill(states, ranges.succeeded, CODE.done);
  fill(states, ranges.skipped, CODE.skipped);
  fill(states, ranges.failed, CODE.failed);
  return states;
}

/**
 * State of one unit.
 * @param {Uint8Array} states
 * @param {number} index
 */
export function stateAt(states, index) {
  return STATES[states[index] ?? 0];
}

/**
 * State -> number of units, of those there are any of.
 * @param {Uint8Array} states
 * @returns {Record<string, number>}
 */
export function tally(states) {
  const counts = new Array(STATES.length).fill(0);
  for (const code of states) counts[code] += 1;
  return Object.fromEntries(ORDER.filter((state) => counts[CODE[state]]).map((state) => [state, counts[CODE[state]]]));
}

/**
 * Indexes of the units in a state; null: all of them.
 * @param {Uint8Array} states
 * @param {string | null} state
 * @returns {Uint32Array}
 */
export function chosen(states, state) {
  const code = state === null ? -1 : CODE[state];
  const found = new Uint32Array(states.length);
  let length = 0;
  for (let index = 0; index < states.length; index += 1) {
    if (code === -1 || states[index] === code) found[length++] = index;
  }
  return found.subarray(0, length);
}

/**
 * Pages of so many units in which something is not as before.
 * @param {Uint8Array | undefined} before
 * @param {Uint8Array} after
 * @param {number} size
 * @returns {Set<number>}
 */
export function changedPages(before, after, size) {
  const pages = new Set();
  const length = Math.max(before?.length ?? 0, after.length);
  for (let index = 0; index < length; index += 1) {
    if (before?.[index] !== after[index]) {
      const page = Math.floor(index / size);
      pages.add(page);
      index = (page + 1) * size - 1;
    }
  }
  return pages;
}
