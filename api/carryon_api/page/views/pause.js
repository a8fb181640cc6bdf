/** Pausing for a while: until a time, after which a job goes on by itself. */

import { html, useId, useNow, useState } from "../ui/element.js";
import { Dialog } from "../ui/dialog.js";
import { Icon } from "../ui/icons.js";
import { asField, goesOn, UNIT_NAMES, waitsUntil } from "../model/until.js";
import { moment, span } from "../model/wording.js";
import { act } from "../acting.js";

const HOUR = 3_600_000;

/** @param {{job: import("../model/types.js").JobSummary, onClose: () => void}} props */
export function PauseDialog({ job, onClose }) {
  const now = useNow(1000);
  const [way, setWay] = useState(/** @type {"for" | "until"} */ ("for"));
  const [many, setMany] = useState("8");
  const [unit, setUnit] = useState("hours");
  const [time, setTime] = useState(() => asField(Date.now() + 8 * HOUR));
  const ids = useId("pause");
  const found = goesOn(way === "for" ? { way, many, unit } : { way, time }, now);
  const start = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (found.time && await act(job, "pause", { until: found.time })) onClose();
  };
  const choice = (/** @type {"for" | "until"} */ id, /** @type {string} */ label) => html`<label class="tick">
    <input type="radio" name=${ids} checked=${way === id} onChange=${() => setWay(id)} /><span>${label}</span></label>`;
  return html`<${Dialog} title=${`Pause ${job.name} for a while`} onClose=${onClose}>
    <form class="stack" onSubmit=${start} noValidate>
      <p>Units at work are saved first. The job goes on by itself; Resume lets it go on earlier.</p>
      <fieldset class="until"><legend class="hidden-text">How long</legend>
        ${choice("for", "For")}
        <span class="until-field"><input type="number" min="1" step="any" inputmode="decimal" aria-label="How long" value=${many} aria-describedby=${`${ids}-said`}
            onInput=${(/** @type {any} */ event) => { setWay("for"); setMany(event.target.value); }} />
          <select aria-label="Counted in" value=${unit} onChange=${(/** @type {any} */ event) => { setWay("for"); setUnit(event.target.value); }}>
            ${UNIT_NAMES.map((name) => html`<option value=${name}>${name}</option>`)}</select></span>
        ${choice("until", "Until")}
        <span class="until-field"><input type="datetime-local" aria-label="Until when" value=${time} min=${asField(now)} aria-describedby=${`${ids}-said`}
            onInput=${(/** @type {any} */ event) => { setWay("until"); setTime(event.target.value); }} /></span>
      </fieldset>
      <p id=${`${ids}-said`} class=${found.problem ? "error" : "muted"} aria-live="polite">${found.problem || `Goes on at ${moment(found.time)}.`}</p>
      <div class="dialog-actions"><button class="button" type="button" onClick=${onClose}>Close</button>
        <button class="button go solid" disabled=${!found.time}>Pause</button></div>
    </form><//>`;
}

/**
 * Says when a paused job goes on by itself.
 * @param {{job: import("../model/types.js").JobSummary, onChange: () => void}} props
 */
export function GoesOn({ job, onChange }) {
  const now = useNow(1000);
  const until = waitsUntil(job, now);
  if (until === null) return null;
  return html`<div class="notice held" data-goes-on=${until}><${Icon} name="clock" />
    <p><strong>Goes on at ${moment(until)}</strong>, in ${span((Date.parse(until) - now) / 1000)}.</p>
    <button class="button small" onClick=${onChange}>Another time…</button></div>`;
}
