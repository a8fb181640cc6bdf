/** YAML in and out; loaded only where somebody edits. */

import { dump as write, load as read } from "./vendor/js-yaml.js";

/**
 * @param {unknown} value
 * @returns {string}
 */
export const dump = (value) => write(value, { lineWidth: 100, noRefs: true });

/**
 * @param {string} text
 * @returns {any}
 * @throws {SyntaxError} With the line that can't be read.
 */
export function load(text) {
  try {
    return read(text);
  } catch (error) {
    const { reason, mark } = /** @type {any} */ (error);
    throw new SyntaxError(mark ? `line ${mark.line + 1}: ${reason}` : String(error));
  }
}
