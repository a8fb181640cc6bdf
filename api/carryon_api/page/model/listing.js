/** Which jobs a list shows, and in which order: those at work before those that were. Pure. */

import { ENDED } from "./controls.js";

/** What the list can be narrowed to. */
export const FILTERS = /** @type {const} */ (["all", "active", "attention", "held", "ended"]);

/** What they are called. */
export const FILTER_LABELS = {
  all: "All", active: "At work", attention: "Needs you", held: "Suspended", ended: "Finished",
};

const ATTENTION = new Set(["Stalled", "AwaitingApproval", "Failed"]);
const HELD = new Set(["Suspended", "Suspending"]);

/**
 * Whether a job is neither over nor held.
 * @param {import("./types.js").JobSummary} job
 */
export function isActive(job) {
  return !ENDED.has(job.phase) && job.phase !== "Suspended";
}

/**
 * @param {import("./types.js").JobSummary} job
 * @param {string} filter
 */
export function passes(job, filter) {
  if (filter === "active") return isActive(job);
  if (filter === "attention") return ATTENTION.has(job.phase);
  if (filter === "held") return HELD.has(job.phase);
  if (filter === "ended") return ENDED.has(job.phase);
  return true;
}

/** @param {import("./types.js").JobSummary} job */
const lastSeen = (job) => job.finished ?? job.started ?? job.created ?? "";

/**
 * The list: active jobs, then the others, each the most recent first.
 * @param {Iterable<import("./types.js").JobSummary>} jobs
 * @param {{filter: string, search: string, namespace: string}} asked "" for any namespace.
 */
export function listed(jobs, { filter, search, namespace }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [...jobs].filter((job) => {
    if (namespace && job.namespace !== namespace) return false;
    if (!passes(job, filter)) return false;
    if (!words.length) return true;
    const labels = Object.entries(job.labels ?? {}).map(([key, value]) => `${key}=${value}`);
    const text = [job.name, job.namespace, job.phase, job.message, ...labels].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  found.sort((one, other) => lastSeen(other).localeCompare(lastSeen(one)) || one.name.localeCompare(other.name));
  return { active: found.filter(isActive), recent: found.filter((job) => !isActive(job)) };
}

/**
 * Filter -> how many jobs pass it.
 * @param {Iterable<import("./types.js").JobSummary>} jobs
 * @returns {Record<string, number>}
 */
export function filterCounts(jobs) {
  const all = [...jobs];
  return Object.fromEntries(FILTERS.map((filter) => [filter, all.filter((job) => passes(job, filter)).length]));
}
