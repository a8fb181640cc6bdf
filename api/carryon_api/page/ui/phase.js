/** A job's phase as a pill: a colour and a word. */

import { html } from "./element.js";
import { isPausing } from "../model/controls.js";
import { phase } from "../model/wording.js";

/** @param {{job: import("../model/types.js").JobSummary}} props */
export function Phase({ job }) {
  const { label, tone } = phase(isPausing(job) ? "Suspending" : job.phase);
  return html`<span class=${`pill ${tone}`} data-phase=${job.phase}>${label}</span>`;
}
