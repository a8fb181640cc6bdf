/** Items: one by one with their params, by number, or from data. */

import { html, useId, useState } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { Field } from "./field.js";
import { at, itemsKind, put } from "../model/manifest.js";

/** Items that are edited one by one; more of them belong into a file. */
const MOST = 60;
const KINDS = /** @type {const} */ ([["list", "One by one"], ["count", "By number"], ["from", "From data"]]);
/** @type {Record<string, any>} */
const FIRST = { list: { list: [{ id: "0", params: { prompt: "" } }] }, count: { count: 10 }, from: { from: { uri: "", format: "csv" } } };

/**
 * @param {{items: any, onChange: (items: any) => void, problemAt: (path: string) => string}} props
 */
export function ItemsForm({ items, onChange, problemAt }) {
  const kind = itemsKind(items);
  const name = useId("items");
  const set = (/** @type {(string | number)[]} */ path, /** @type {unknown} */ value) => onChange(put(items ?? {}, path, value));
  const field = (/** @type {import("../model/fields.js").Field} */ each) => html`<${Field} key=${each.path.join(".")} field=${each} value=${at(items, each.path)}
    problem=${problemAt(`spec.items.${each.path.join(".")}`)} onChange=${(/** @type {unknown} */ value) => set(each.path, value)} />`;
  return html`<fieldset class="inline"><legend class="hidden-text">Items are given</legend>
      ${KINDS.map(([id, label]) => html`<label class="tick"><input type="radio" name=${name} checked=${kind === id}
        onChange=${() => onChange(FIRST[id])} /><span>${label}</span></label>`)}</fieldset>
    ${kind === "count" && html`<div class="fields">${field({ path: ["count"], label: "How many", kind: "number" })}</div>`}
    ${kind === "from" && html`<div class="fields">
      ${field({ path: ["from", "uri"], label: "File", kind: "text", hint: "s3://bucket/items.csv" })}
      ${field({ path: ["from", "format"], label: "Format", kind: "choice", choices: ["csv", "jsonl"] })}
      ${field({ path: ["from", "idColumn"], label: "Column of the ids", kind: "text", unset: "id" })}
      ${field({ path: ["from", "first"], label: "Only the first", kind: "number", unset: "all rows" })}</div>`}
    ${kind === "list" && html`<${ItemList} list=${items?.list ?? []} onChange=${(/** @type {any[]} */ list) => onChange({ list })} />`}`;
}

/** @param {{list: any[], onChange: (list: any[]) => void}} props */
function ItemList({ list, onChange }) {
  const [called, setCalled] = useState("");
  if (list.length > MOST) {
    return html`<p class="muted">${list.length} items: too many for a form. Edit them as YAML, or keep them in a CSV file.</p>`;
  }
  const names = [...new Set(list.flatMap((item) => Object.keys(item.params ?? {})))];
  const set = (/** @type {number} */ index, /** @type {(string | number)[]} */ path, /** @type {unknown} */ value) => onChange(put(list, [index, ...path], value));
  const add = () => onChange([...list, { id: freeId(list), params: Object.fromEntries(names.map((name) => [name, ""])) }]);
  const addParam = () => {
    const name = called.trim();
    if (name && !names.includes(name)) onChange(list.map((item) => ({ ...item, params: { ...item.params, [name]: "" } })));
    setCalled("");
  };
  return html`<div class="scrolls"><table class="items"><thead><tr><th scope="col">Id</th>${names.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}<td></td></tr></thead>
      <tbody>${list.map((item, index) => html`<tr key=${index}>
        <td><input aria-label=${`Id of item ${index + 1}`} value=${item.id} onInput=${(/** @type {any} */ event) => set(index, ["id"], event.target.value)} /></td>
        ${names.map((name) => html`<td key=${name}><${Param} label=${`${name} of ${item.id}`} value=${item.params?.[name]}
          onChange=${(/** @type {unknown} */ value) => set(index, ["params", name], value)} /></td>`)}
        <td><button type="button" class="plain" aria-label=${`Remove item ${item.id}`} onClick=${() => onChange(list.filter((_, other) => other !== index))}>
          <${Icon} name="cross" /></button></td></tr>`)}</tbody></table></div>
    <p class="inline"><button type="button" class="button small" onClick=${add}><${Icon} name="plus" /> Item</button>
      <span class="with-button"><input aria-label="Name of a parameter that templates use as item.NAME" placeholder="style" value=${called}
        onInput=${(/** @type {any} */ event) => setCalled(event.target.value)} />
      <button type="button" class="button small" onClick=${addParam}><${Icon} name="plus" /> Parameter</button></span></p>`;
}

/** A parameter: text as it stands, anything else as JSON. @param {{label: string, value: unknown, onChange: (value: unknown) => void}} props */
function Param({ label, value, onChange }) {
  const isText = value === undefined || typeof value === "string";
  return html`<input aria-label=${label} value=${isText ? value ?? "" : JSON.stringify(value)} spellcheck=${isText}
    onChange=${(/** @type {any} */ event) => onChange(isText ? event.target.value : asJson(event.target.value))} />`;
}

/** @param {string} text */
function asJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {any[]} list */
function freeId(list) {
  const taken = new Set(list.map((item) => item.id));
  let number = list.length;
  while (taken.has(String(number))) number += 1;
  return String(number);
}
