/** Dialogs: the browser's own, which keeps the keyboard inside and gives it back afterwards. */

import { html, useEffect, useId, useRef } from "./element.js";
import { Icon } from "./icons.js";

/**
 * @param {{title: string, onClose: () => void, children?: any, actions?: any, wide?: boolean}} props
 */
export function Dialog({ title, onClose, children, actions, wide }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const heading = useId("dialog");
  useEffect(() => {
    const shown = element.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  const outside = (/** @type {MouseEvent} */ event) => event.target === element.current && onClose();
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-labelledby=${heading} onClick=${outside}
      onCancel=${(/** @type {Event} */ event) => { event.preventDefault(); onClose(); }}>
    <div class="dialog-inner">
      <header>
        <h2 id=${heading}>${title}</h2>
        <button class="plain" type="button" aria-label="Close" onClick=${onClose}><${Icon} name="cross" /></button>
      </header>
      <div class="dialog-body">${children}</div>
      ${actions && html`<footer>${actions}</footer>`}
    </div>
  </dialog>`;
}

/**
 * Asks before something is lost.
 * @param {{title: string, text: string, consequence: string, label: string, onConfirm: () => void, onClose: () => void}} props
 */
export function Confirm({ title, text, consequence, label, onConfirm, onClose }) {
  const act = () => { onClose(); onConfirm(); };
  return html`<${Dialog} title=${title} onClose=${onClose} actions=${html`
      <button class="button" type="button" onClick=${onClose}>Keep it</button>
      <button class="button danger solid" type="button" onClick=${act}>${label}</button>`}>
    <p>${text}</p>
    ${consequence && html`<p class="muted">${consequence}</p>`}
  <//>`;
}
