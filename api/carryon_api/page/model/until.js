/** When a job that is paused goes on by itself. Pure: the time is passed in, in milliseconds. */

const UNITS = { minutes: 60_000, hours: 3_600_000, days: 86_400_000 };

/** What a pause may be counted in. */
export const UNIT_NAMES = /** @type {(keyof typeof UNITS)[]} */ (Object.keys(UNITS));
/** The longest that is taken: a pause of years is a slip of the finger. */
const LONGEST = 366 * UNITS.days;

/**
 * What somebody chose.
 * @typedef {{way: "for", many: string, unit: string} | {way: "until", time: string}} Choice `time` as of datetime-local.
 */

/**
 * When the job goes on, or why that can't be told.
 * @param {Choice} choice
 * @param {number} now
 * @returns {{time: string, problem: ""} | {time: "", problem: string}} RFC 3339.
 */
export function goesOn(choice, now) {
  const at = choice.way === "for"
    ? now + Number(choice.many.trim() || NaN) * UNITS[/** @type {keyof typeof UNITS} */ (choice.unit)]
    : Date.parse(choice.time);
  if (!Number.isFinite(at)) return { time: "", problem: choice.way === "for" ? "Say for how long." : "Say until when." };
  if (at <= now) return { time: "", problem: "That lies in the past: name a time ahead." };
  if (at > now + LONGEST) return { time: "", problem: "That is more than a year ahead." };
  // Whole seconds, as specs have them, and never before what was asked for.
  return { time: new Date(Math.ceil(at / 1000) * 1000).toISOString().replace(".000Z", "Z"), problem: "" };
}

/**
 * When a job goes on by itself, as it is now; null: not by itself, or it does already.
 * @param {import("./types.js").JobSummary} job
 * @param {number} now
 */
export function waitsUntil({ suspend, suspendUntil, phase }, now) {
  if (suspend || !suspendUntil || Date.parse(suspendUntil) <= now) return null;
  return phase === "Suspended" || phase === "Suspending" ? suspendUntil : null;
}

/**
 * A time as the field for one has it: on the clock of whoever looks, to the minute.
 * @param {number} time
 */
export function asField(time) {
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const date = new Date(time);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}`;
}
