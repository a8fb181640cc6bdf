/** The controls of a job: always all of them, in one order; those that can't be used now say why. */

import { html, useId, useMemo, useState } from "./element.js";
import { Icon } from "./icons.js";
import { controls } from "../model/controls.js";
import { keyOf } from "../model/feed.js";
import { toast, useStore } from "../state.js";

const NONE = new Set();

/**
 * @param {{job: import("../model/types.js").JobSummary, onAct: (id: string) => void}} props
 */
export function ControlsBar({ job, onAct }) {
  const key = keyOf(job);
  const sending = useStore((state) => state.sending.get(key) ?? NONE);
  const exporting = useStore((state) => state.exporting.has(key));
  const rights = useStore((state) => state.session);
  const made = useMemo(() => controls(job, { sending, exporting }, rights), [job, sending, exporting, rights]);
  return html`<div class="controls" role="toolbar" aria-label=${`What to do with ${job.name}`}>
    ${made.map((control) => html`<${ControlButton} key=${control.id} control=${control} onAct=${onAct} />`)}
  </div>`;
}

/**
 * A button that can be reached also where it can't be used, so that its reason can be read.
 * @param {{control: import("../model/controls.js").Control, onAct: (id: string) => void, small?: boolean}} props
 */
export function ControlButton({ control, onAct, small }) {
  const reason = useId("reason");
  const [put, putAway] = useState(false);
  const { id, icon, tone, label, enabled, busy } = control;
  const press = () => (enabled ? onAct(id) : toast("note", `${label}: ${control.reason}`));
  const [word, count] = split(label);
  return html`<span class="control" onMouseLeave=${() => putAway(false)}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && putAway(true)}>
    <button type="button" class=${`button ${tone} ${busy ? "busy" : ""} ${small ? "small" : ""}`} data-action=${id}
        aria-disabled=${enabled ? undefined : "true"} aria-busy=${busy ? "true" : undefined} aria-describedby=${reason}
        onClick=${press} onFocus=${() => putAway(false)}>
      <${Icon} name=${busy ? "hourglass" : icon} />
      <span>${word}${count && html` <span class="count">${count}</span>`}</span>
    </button>
    ${id === "pause" && !small && html`<button type="button" class="button beside" data-action="pause-until" aria-label="Pause until a time"
        title="Pause until a time" aria-disabled=${control.until ? undefined : "true"} aria-describedby=${control.until ? undefined : reason}
        onClick=${() => (control.until ? onAct("pause-until") : toast("note", `Pause until a time: ${control.reason}`))}>
      <${Icon} name="clock" /></button>`}
    <span class=${`tip ${put ? "away" : ""}`} role="tooltip" id=${reason}>${capital(control.reason)}</span>
  </span>`;
}

/**
 * "Resume (6 remaining)" in two parts.
 * @param {string} label
 */
function split(label) {
  const found = /^(.*?) (\(.*\))$/.exec(label);
  return found ? [found[1], found[2]] : [label, ""];
}

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
