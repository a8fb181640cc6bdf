/** Signing in with a token, the first time and again. */

import { html, useId, useState } from "../ui/element.js";
import { Dialog } from "../ui/dialog.js";
import { Problem } from "../net/api.js";
import { signIn } from "../session.js";

/** @param {{onDone?: () => void}} props */
export function SignInForm({ onDone = () => {} }) {
  const [token, setToken] = useState("");
  const [refused, setRefused] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useId("token");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(token.trim());
      onDone();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setRefused(error.message);
    } finally {
      setBusy(false);
    }
  };
  return html`<form class="stack" onSubmit=${submit}>
    <label for=${field}>Token</label>
    <input id=${field} type="password" autocomplete="off" spellcheck="false" required value=${token} autofocus
        aria-describedby=${`${field}-hint`} aria-invalid=${refused ? "true" : undefined}
        onInput=${(/** @type {any} */ event) => setToken(event.target.value)} />
    <p class="muted" id=${`${field}-hint`}>
      On this machine, <code>carryon page</code> opens this page signed in. On a cluster, paste what
      ${" "}<code>kubectl create token NAME</code> prints. It is kept in a cookie that no script can read.
    </p>
    <div role="alert">${refused && html`<p class="error">${refused}</p>`}</div>
    <button class="button go solid" disabled=${busy}>Sign in</button>
  </form>`;
}

export function SignInPage() {
  return html`<main class="signin" id="main" tabindex="-1">
    <div class="card">
      <img src="icon.svg" alt="" width="44" height="44" />
      <h1>Sign in to Carryon</h1>
      <${SignInForm} />
    </div>
  </main>`;
}

/** @param {{onClose: () => void}} props */
export function SignInDialog({ onClose }) {
  return html`<${Dialog} title="Sign in again" onClose=${onClose}><${SignInForm} onDone=${onClose} /><//>`;
}
