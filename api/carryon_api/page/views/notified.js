/** Where a job sends word, and what came of the last time. */

import { html } from "../ui/element.js";
import { moment } from "../model/wording.js";

/** @param {{job: any}} props */
export function Notified({ job }) {
  const told = job.notify ?? [];
  if (!told.length) return null;
  return html`<section class="fact-box"><h2>Notifications</h2><ul class="failures">
    ${told.map((/** @type {any} */ each, /** @type {number} */ at) => html`<li key=${at}><span class="muted">${each.url ?? `receiver ${at + 1}`}</span>
      <p>${[each.event, each.state, moment(each.time)].filter(Boolean).join(", ")}</p>${each.message && html`<p class="muted">${each.message}</p>`}</li>`)}</ul></section>`;
}
