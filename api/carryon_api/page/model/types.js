/**
 * What the API says, as JSDoc types. Nothing runs here; docs/reference/api.md has the same in words.
 *
 * @typedef {{possible: boolean, reason: string, action: string, label: string, already: boolean}} Action
 *
 * @typedef {object} StageSummary
 * @property {string} name
 * @property {number} total
 * @property {number} done
 * @property {number} failed
 * @property {number} active
 *
 * @typedef {object} JobSummary
 * @property {string} namespace
 * @property {string} name
 * @property {string} uid
 * @property {Record<string, string>} labels
 * @property {string} phase
 * @property {string} message
 * @property {string} progress "9/15"
 * @property {{total: number, succeeded: number, failed: number, active: number, remaining: number}} units
 * @property {string | null} created RFC 3339
 * @property {string | null} started
 * @property {string | null} finished
 * @property {boolean} suspend
 * @property {string | null} suspendUntil
 * @property {boolean} deleting
 * @property {(StageSummary | StageReport)[]} stages
 * @property {Record<string, Action>} actions
 * @property {string} resourceVersion
 *
 * @typedef {object} StageReport
 * @property {string} name
 * @property {"item" | "job"} each
 * @property {string[]} after
 * @property {number} total
 * @property {number} done
 * @property {number} failed
 * @property {number} skipped
 * @property {{succeeded: string, failed: string, skipped: string, active: string, waitingForApproval: string}} ranges
 * @property {string | null} started
 * @property {string | null} finished
 * @property {number | null} meanSeconds
 * @property {string | null} approval "Required", where units wait for a person's word.
 * @property {{pod: string, units: string, attempt: number, since: string}[]} active
 *
 * @typedef {Omit<JobSummary, "stages"> & {
 *   stages: StageReport[], counters: Record<string, number>,
 *   times: {started: string | null, lastActivity: string | null, finished: string | null},
 *   eta: number | null, etaReason?: string,
 *   conditions: {type: string, status: string, reason: string, message: string, lastTransitionTime: string}[],
 *   recentFailures: {stage: string, unit: string, reason: string, message: string, attempt: number, time: string}[],
 *   gpuSeconds: Record<string, number>, resume: {possible: boolean, reason: string, action: string} | null,
 *   output: string | null}} ProcessStatus
 *
 * @typedef {{stage: string, item: string, index: number, step: number | null, steps: number | null, phase: string,
 *   secondsPerStep: number | null}} Progress
 *
 * @typedef {{name: string, url: string, size: number, contentType: string, sha256: string}} Artifact
 *
 * @typedef {{stage: string, item: string, index: number, state: string, reason: string, artifacts: Artifact[],
 *   progress?: Partial<Progress> | null}} Unit
 */

export {};
