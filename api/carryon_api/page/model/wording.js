/** Numbers, times and states in the words that people read. Pure: the time is passed in. */

const SPANS = /** @type {const} */ ([[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]);

/**
 * A duration in its two largest parts: "59 s", "3 min 20 s", "4 d 7 h".
 * @param {number} seconds
 */
export function span(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [size, unit] of SPANS) {
    const many = Math.floor(left / size);
    left -= many * size;
    if (many || parts.length) parts.push(many ? `${many} ${unit}` : "");
  }
  return parts.slice(0, 2).filter(Boolean).join(" ") || "0 s";
}

/**
 * Seconds of a unit or step, with as many digits as mean something.
 * @param {number} seconds
 */
export function exactly(seconds) {
  if (seconds >= 60) return span(seconds);
  return `${seconds >= 10 ? Math.round(seconds) : Math.round(seconds * 10) / 10} s`;
}

/**
 * How long ago something was.
 * @param {string | null | undefined} time RFC 3339
 * @param {number} now Milliseconds.
 */
export function ago(time, now) {
  if (!time) return "";
  const seconds = (now - Date.parse(time)) / 1000;
  return seconds < 5 ? "just now" : `${span(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

/**
 * Seconds between two times; the second one now if it has not come.
 * @param {string | null | undefined} from
 * @param {string | null | undefined} to
 * @param {number} now Milliseconds.
 * @returns {number | null}
 */
export function between(from, to, now) {
  return from ? Math.max(0, ((to ? Date.parse(to) : now) - Date.parse(from)) / 1000) : null;
}

/**
 * A time on the clock of whoever looks.
 * @param {string | null | undefined} time
 */
export function moment(time) {
  if (!time) return "";
  return new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/**
 * A number of bytes.
 * @param {number} bytes
 */
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < 4) [value, unit] = [value / 1000, unit + 1];
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

/**
 * "1 unit", "12,000 units".
 * @param {number} many
 * @param {string} word
 */
export function counted(many, word) {
  return `${number(many)} ${word}${many === 1 ? "" : "s"}`;
}

/**
 * A whole number with separators.
 * @param {number} value
 */
export function number(value) {
  return value.toLocaleString("en");
}

/** Phase -> how it reads, and its tone; a tone is a class of the style sheets. */
const PHASES = {
  Pending: ["Pending", "idle"],
  Running: ["Running", "active"],
  Retrying: ["Retrying", "active"],
  Finalizing: ["Finalizing", "active"],
  Suspending: ["Pausing…", "held"],
  Suspended: ["Suspended", "held"],
  AwaitingApproval: ["Waits for approval", "asks"],
  Stalled: ["Stalled", "failed"],
  Succeeded: ["Succeeded", "done"],
  Failed: ["Failed", "failed"],
  Cancelled: ["Cancelled", "idle"],
};

/**
 * How a phase reads, and its tone.
 * @param {string} phase
 * @returns {{label: string, tone: string}}
 */
export function phase(phase) {
  const [label, tone] = PHASES[/** @type {keyof typeof PHASES} */ (phase)] ?? [phase, "idle"];
  return { label, tone };
}

/**
 * Where a unit is: "12/30", "step 12", or the phase of its worker.
 * @param {Partial<import("./types.js").Progress> | null | undefined} progress
 */
export function step(progress) {
  if (!progress) return "";
  if (progress.step == null) return progress.phase ?? "";
  return progress.steps ? `step ${progress.step}/${progress.steps}` : `step ${progress.step}`;
}
