/** How far something is: done, failed, at work and still to come, in one bar. */

import { html } from "./element.js";
import { number } from "../model/wording.js";

/**
 * @param {{label: string, total: number, done: number, failed?: number, active?: number, tone?: string}} props
 */
export function Progress({ label, total, done, failed = 0, active = 0, tone = "" }) {
  const share = (/** @type {number} */ many) => ({ width: `${total ? (100 * many) / total : 0}%` });
  const said = [`${number(done)} of ${number(total)} done`];
  if (active) said.push(`${number(active)} running`);
  if (failed) said.push(`${number(failed)} failed`);
  return html`<div class=${`progress ${tone}`} role="progressbar" aria-label=${label} aria-valuemin="0"
      aria-valuemax=${Math.max(total, 1)} aria-valuenow=${done} aria-valuetext=${said.join(", ")}>
    <span class="done" style=${share(done)}></span>
    <span class="failed" style=${share(failed)}></span>
    <span class="active" style=${share(active)}></span>
  </div>`;
}
