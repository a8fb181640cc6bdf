/** One setting of the form. */

import { html, useEffect, useId, useState } from "../ui/element.js";
import { parsed, typed } from "../model/fields.js";

/**
 * @param {{field: import("../model/fields.js").Field, value: unknown, onChange: (value: unknown) => void, problem?: string}} props
 */
export function Field({ field, value, onChange, problem }) {
  const id = useId("field");
  const [text, setText] = useState(typed(field, value));
  const [wrong, setWrong] = useState("");
  // What was typed stays as it was typed, unless the value has become another elsewhere.
  useEffect(() => {
    if (typed(field, value) !== typed(field, tryParsed(field, text))) setText(typed(field, value));
  }, [value]);
  const said = wrong || problem || "";
  const type = (/** @type {any} */ event) => {
    setText(event.target.value);
    try {
      onChange(parsed(field, event.target.value));
      setWrong("");
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      setWrong(`this is no JSON: ${error.message}`);
    }
  };
  const common = { id, "aria-invalid": said ? "true" : undefined, "aria-describedby": `${id}-hint` };
  if (field.kind === "switch") {
    return html`<label class="tick"><input type="checkbox" checked=${Boolean(value)}
      onChange=${(/** @type {any} */ event) => onChange(event.target.checked || undefined)} /><span>${field.label}</span></label>`;
  }
  return html`<div class=${`field ${field.kind}`}><label for=${id}>${field.label}</label>
    ${field.kind === "choice" ? html`<select ...${common} value=${text} onChange=${type}>
        <option value="">${field.unset ?? ""}</option>
        ${field.choices?.filter((choice) => choice !== field.unset).map((choice) => html`<option value=${choice}>${choice}</option>`)}</select>`
      : field.kind === "json" || field.kind === "long" ? html`<textarea ...${common} class="mono" rows=${Math.min(12, Math.max(2, text.split("\n").length))}
          spellcheck=${false} value=${text} onInput=${type}></textarea>`
      : html`<input ...${common} value=${text} placeholder=${field.unset ?? ""} inputmode=${field.kind === "number" ? "numeric" : undefined}
          spellcheck=${false} onInput=${type} />`}
    <p class="field-hint" id=${`${id}-hint`}>${said ? html`<span class="error">${said}</span>` : field.hint ?? ""}</p></div>`;
}

/**
 * @param {import("../model/fields.js").Field} field
 * @param {string} text
 */
function tryParsed(field, text) {
  try {
    return parsed(field, text);
  } catch {
    return undefined;
  }
}
