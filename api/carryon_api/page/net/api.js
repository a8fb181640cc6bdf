/** Requests to the API: JSON in, JSON out, and its own sentence where it says no. */

const BASE = "/api/v1";

/** An answer other than success: RFC 9457. */
export class Problem extends Error {
  /**
   * @param {number} status HTTP status; 0: no answer at all.
   * @param {{title?: string, detail?: string, action?: string, errors?: {field: string, message: string}[]}} body
   */
  constructor(status, body) {
    super(body.detail || body.title || `the API answered ${status}`);
    this.status = status;
    /** What would help. */
    this.action = body.action ?? "";
    /** @type {{field: string, message: string}[]} */
    this.errors = body.errors ?? [];
  }
}

/** Called when the API no longer knows who asks. */
let signedOut = () => {};

/** @param {() => void} callback */
export function onSignedOut(callback) {
  signedOut = callback;
}

/**
 * One request.
 * @param {string} method
 * @param {string} path Below /api/v1.
 * @param {{json?: unknown, body?: BodyInit, type?: string, accept?: string, exact?: boolean, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} Parsed JSON, text of another type, or null where there is no content.
 * @throws {Problem}
 */
export async function request(method, path, { json, body, type, accept = "application/json", exact = false, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: `${accept}, application/problem+json` };
  if (method !== "GET") headers["X-Carryon"] = "1";
  if (json !== undefined) headers["Content-Type"] = "application/json";
  else if (type) headers["Content-Type"] = type;
  let answer;
  try {
    answer = await fetch(BASE + path, {
      method, headers, signal, credentials: "same-origin",
      body: json === undefined ? body : JSON.stringify(json),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, { detail: "the API does not answer: check the connection, then try again" });
  }
  if (answer.ok) return content(answer, exact);
  if (answer.status === 401 && path !== "/session") signedOut();
  throw new Problem(answer.status, await problem(answer));
}

/**
 * @param {Response} answer
 * @param {boolean} exact
 */
async function content(answer, exact) {
  if (answer.status === 204) return null;
  const json = (answer.headers.get("Content-Type") ?? "").includes("json");
  if (!json) return answer.text();
  return exact ? exactly(await answer.text()) : answer.json();
}

/**
 * JSON with whole numbers beyond 2^53, such as seeds, as text: a number of JavaScript would be another one.
 * @param {string} text
 */
export function exactly(text) {
  const kept = (/** @type {string} */ _key, /** @type {unknown} */ value, /** @type {{source?: string}} */ context) =>
    (Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source ?? value : value);
  return JSON.parse(text, /** @type {any} */ (kept));
}

/** @param {Response} answer */
async function problem(answer) {
  try {
    return await answer.json();
  } catch {
    return { detail: `the API answered ${answer.status} ${answer.statusText}`.trim() };
  }
}

/**
 * A text at an address that the API gave.
 * @param {string} url Below the API's address.
 * @param {AbortSignal} signal
 * @returns {Promise<string>}
 * @throws {Problem}
 */
export async function textOf(url, signal) {
  return String((await request("GET", url.replace(new RegExp(`^${BASE}`), ""), { signal, accept: "text/plain" })) ?? "");
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export const get = (path, signal) => request("GET", path, { signal });

/**
 * The path of a job below /api/v1.
 * @param {{namespace: string, name: string}} job
 * @param {...string} rest
 */
export function jobPath({ namespace, name }, ...rest) {
  return ["/namespaces", namespace, "jobs", name, ...rest]
    .map((part, at) => (at ? encodeURIComponent(part) : part)).join("/");
}

/**
 * The address of something of a job, for links, pictures and players.
 * @param {{namespace: string, name: string}} job
 * @param {string[]} rest
 * @param {Record<string, string | number | boolean>} [query]
 */
export function jobUrl(job, rest, query = {}) {
  const asked = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)]));
  return BASE + jobPath(job, ...rest) + (asked.size ? `?${asked}` : "");
}
