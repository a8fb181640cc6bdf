/** Where a job sends word, and what came of the last time. */

import { html } from "../ui/element.js";
import { useManifest } from "./manifest-of.js";
import { moment } from "../model/wording.js";

/** @type {Record<string, string>} */
const STATES = { Pending: "on its way", Delivered: "delivered", GivenUp: "given up" };

/** @param {{job: import("../model/types.js").ProcessStatus}} props */
export function Notified({ job }) {
  const manifest = useManifest(job, (known) => known === null || Boolean(known.spec.notify?.length));
  const hooks = manifest?.spec.notify ?? [];
  if (!hooks.length) return null;
  /** @type {any[]} */
  const told = manifest.status?.notifications ?? [];
  return html`<section class="fact-box"><h2>Notifications</h2><ul class="failures">
    ${hooks.map((/** @type {any} */ hook, /** @type {number} */ at) => html`<li key=${at}>
      <span class="artifact-name">${hook.url}</span>
      ${told.filter((each) => each.hook === at).map((each) => html`<p key=${each.id}>${each.condition}:
        ${" "}${STATES[each.state] ?? each.state}${each.attempts > 1 ? `, attempt ${each.attempts}` : ""}
        ${" "}<span class="muted">${[moment(each.attempted ?? each.time), each.result].filter(Boolean).join(", ")}</span></p>`)}
      ${!told.some((each) => each.hook === at) && html`<p class="muted">nothing sent yet</p>`}</li>`)}</ul></section>`;
}
