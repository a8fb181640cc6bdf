/** What came of the jobs that exist, in the numbers and words that people read. Pure. */

import { counted, exactly, number, span } from "./wording.js";

/**
 * @typedef {object} Analytics As the API has it; docs/reference/api.md has the same in words.
 * @property {{total: number, active: number, succeeded: number, failed: number, cancelled: number, successRate: number | null}} jobs
 * @property {{total: number, succeeded: number, failed: number, successRate: number | null}} units
 * @property {{failures: number, stuck: number, disruptions: number, notResumable: number, reasons: Record<string, number>}} retries
 * @property {{stage: string, jobs: number, units: number, meanSeconds: number, secondsPerUnit: number | null}[]} stages
 * @property {{total: number, useful: number, checkpointing: number, lost: number, saved: number}} gpuSeconds
 *
 * @typedef {{label: string, value: number, said: string, share: number, hint?: string}} Bar `share` of the longest, 0 to 1.
 */

/** @type {[keyof Omit<Analytics["retries"], "reasons">, string, string][]} */
const CAUSES = [
  ["failures", "Failed", "crashed, ran out of memory, or took too long"],
  ["stuck", "Stuck", "did not move any more"],
  ["disruptions", "Pod lost", "evicted, preempted, or its node is gone: costs no attempt"],
  ["notResumable", "Started over", "could not use what an earlier attempt had computed"],
];
/** @type {[keyof Analytics["gpuSeconds"], string, string][]} */
const WORK = [["useful", "Useful", "done"], ["checkpointing", "Checkpointing", "held"], ["lost", "Lost", "failed"]];
const REASONS_MOST = 8;

/**
 * A share in percent, with digits only where they mean something: one failure in 10,000 is not 100 %.
 * @param {number | null} rate From 0 to 1.
 */
export function percent(rate) {
  if (rate === null) return "–";
  const exact = 100 * rate;
  const digits = exact > 99 && exact < 100 ? 2 : exact > 90 && exact < 100 ? 1 : 0;
  return `${Number(exact.toFixed(digits))} %`;
}

/**
 * The figures that come first.
 * @param {Analytics} told
 * @returns {{label: string, value: string, said: string}[]}
 */
export function figures({ jobs, units, retries, gpuSeconds }) {
  const ended = jobs.succeeded + jobs.failed;
  const again = CAUSES.slice(0, 3).reduce((sum, [cause]) => sum + retries[cause], 0);
  const rest = [jobs.active && `${number(jobs.active)} not over`, jobs.cancelled && `${number(jobs.cancelled)} cancelled`]
    .filter(Boolean).join(", ");
  const done = units.succeeded + units.failed;
  return [
    { label: "Jobs that succeed", value: percent(jobs.successRate),
      said: [ended ? `${number(jobs.succeeded)} of ${number(ended)}` : "none has ended yet", rest].filter(Boolean).join("; ") },
    { label: "Units that succeed", value: percent(units.successRate),
      said: done ? `${number(units.succeeded)} of ${number(done)}${units.failed ? `; ${number(units.failed)} failed` : ""}` : "none is done yet" },
    { label: "Attempts that did not finish", value: number(again),
      said: units.succeeded ? `${Number(((100 * again) / units.succeeded).toFixed(1))} for each 100 units` : "" },
    { label: "Saved by resuming", value: span(gpuSeconds.saved),
      said: gpuSeconds.total ? `of GPU time that was not spent twice; ${span(gpuSeconds.total)} were spent` : "of GPU time" },
  ];
}

/**
 * Why attempts did not finish.
 * @param {Analytics} told
 * @returns {Bar[]}
 */
export function causes({ retries }) {
  return bars(CAUSES.map(([cause, label, hint]) => ({ label, hint, value: retries[cause], said: number(retries[cause]) })));
}

/**
 * The reasons that jobs still show of their failures, the most frequent first.
 * @param {Analytics} told
 * @returns {Bar[]}
 */
export function reasons({ retries }) {
  const found = Object.entries(retries.reasons).sort(([a, one], [b, other]) => other - one || a.localeCompare(b));
  return bars(found.slice(0, REASONS_MOST).map(([label, value]) => ({ label, value, said: number(value) })));
}

/**
 * Time that stages take, the longest first.
 * @param {Analytics} told
 * @returns {(Bar & {each: string, jobs: string})[]}
 */
export function stageTimes({ stages }) {
  const sorted = [...stages].sort((one, other) => other.meanSeconds - one.meanSeconds || one.stage.localeCompare(other.stage));
  return bars(sorted.map(({ stage, meanSeconds, secondsPerUnit, units, jobs }) => ({
    label: stage,
    value: meanSeconds,
    said: exactly(meanSeconds),
    each: secondsPerUnit === null ? "–" : exactly(secondsPerUnit),
    jobs: `${counted(units, "unit")} of ${counted(jobs, "job")}`,
  })));
}

/**
 * What GPU time went into: parts of a whole; none where none was spent.
 * @param {Analytics} told
 * @returns {{label: string, tone: string, value: number, said: string, share: number}[]}
 */
export function work({ gpuSeconds }) {
  const known = WORK.reduce((sum, [part]) => sum + gpuSeconds[part], 0);
  const rest = Math.max(0, gpuSeconds.total - known);
  const parts = [...WORK.map(([part, label, tone]) => ({ label, tone, value: gpuSeconds[part] })),
    { label: "Loading and the rest", tone: "rest", value: rest }];
  const whole = known + rest;
  return whole ? parts.map((part) => ({ ...part, said: span(part.value), share: part.value / whole })) : [];
}

/**
 * @template {{value: number}} T
 * @param {T[]} given
 * @returns {(T & {share: number})[]}
 */
function bars(given) {
  const longest = Math.max(...given.map(({ value }) => value), 0);
  return given.map((each) => ({ ...each, share: longest ? each.value / longest : 0 }));
}
