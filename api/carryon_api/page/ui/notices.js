/** What the page says by itself: a toast for what was done, a banner for what was lost. */

import { html, useEffect, useNow, useState } from "./element.js";
import { Icon } from "./icons.js";
import { dismiss, useStore } from "../state.js";
import { ago } from "../model/wording.js";

const SHOWN = 6000;
/** Milliseconds of silence before the banner says so: a server that restarts is back by then. */
const PATIENCE = 2500;

export function Toasts() {
  const toasts = useStore((state) => state.toasts);
  return html`<div class="toasts" role="status" aria-live="polite" aria-atomic="false">
    ${toasts.map((toast) => html`<${Toast} key=${toast.id} toast=${toast} />`)}
  </div>`;
}

/** @param {{toast: import("../state.js").Toast}} props */
function Toast({ toast }) {
  const [held, hold] = useState(false);
  useEffect(() => {
    if (held || toast.tone === "problem") return undefined;
    const timer = setTimeout(() => dismiss(toast.id), SHOWN);
    return () => clearTimeout(timer);
  }, [held]);
  return html`<div class=${`toast ${toast.tone}`} onMouseEnter=${() => hold(true)} onMouseLeave=${() => hold(false)}>
    <${Icon} name=${toast.tone === "problem" ? "alert" : toast.tone === "note" ? "clock" : "check"} />
    <p>${toast.text}${toast.hint && html`<span class="hint">${toast.hint}</span>`}</p>
    <button class="plain" aria-label="Put this message away" onClick=${() => dismiss(toast.id)}><${Icon} name="cross" /></button>
  </div>`;
}

/** @param {{onSignIn: () => void}} props */
export function Banner({ onSignIn }) {
  const session = useStore((state) => state.session.state);
  const stream = useStore((state) => state.stream);
  const now = useNow(1000);
  if (session === "out") {
    return html`<div class="banner" role="alert">
      <${Icon} name="alert" />
      <p><strong>You are signed out.</strong> What you see is as it was before; jobs go on without you.</p>
      <button class="button" onClick=${onSignIn}>Sign in again</button>
    </div>`;
  }
  if (stream.state === "live" || now - stream.since < PATIENCE) return null;
  return html`<div class="banner" role="alert">
    <${Icon} name="alert" />
    <p><strong>Live updates are interrupted.</strong> What you see may be old (${ago(new Date(stream.since).toISOString(), now)}). Trying again; jobs go on.</p>
  </div>`;
}
