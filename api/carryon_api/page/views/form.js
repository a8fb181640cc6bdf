/** A job as a form. What it does not show stays in the manifest as it is. */

import { html, useState } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { Field } from "./field.js";
import { ItemsForm } from "./items-form.js";
import { GENERATOR_FIRST, GROUPS, generatorFields } from "../model/fields.js";
import { at, generatorOf, GENERATORS, put } from "../model/manifest.js";

/**
 * @typedef {object} FormProps
 * @property {any} manifest
 * @property {(manifest: any) => void} onChange
 * @property {(path: string) => string} problemAt What validation found about a field.
 * @property {boolean} existing The job is there already: its name and those of its stages stay.
 * @property {string[]} namespaces
 */

/** @param {FormProps} props */
export function JobForm({ manifest, onChange, problemAt, existing, namespaces }) {
  const set = (/** @type {(string | number)[]} */ path, /** @type {unknown} */ value) => onChange(put(manifest, path, value));
  const field = (/** @type {import("../model/fields.js").Field} */ each) => html`<${Field} key=${each.path.join(".")} field=${each}
    value=${at(manifest, each.path)} problem=${problemAt(each.path.join("."))} onChange=${(/** @type {unknown} */ value) => set(each.path, value)} />`;
  const stages = manifest.spec?.stages ?? [];
  return html`<div class="form">
    ${!existing && html`<section class="card form-card"><h2>The job</h2><div class="fields">
      ${field({ path: ["metadata", "name"], label: "Name", kind: "text", hint: "small letters, digits and dashes, at most 40" })}
      <${NamespaceField} manifest=${manifest} set=${set} namespaces=${namespaces} /></div></section>`}
    <section class="card form-card"><h2>What to make</h2>
      <${ItemsForm} items=${manifest.spec?.items} onChange=${(/** @type {any} */ items) => set(["spec", "items"], items)} problemAt=${problemAt} /></section>
    ${stages.map((/** @type {any} */ stage, /** @type {number} */ index) => html`<${StageForm} key=${index} stage=${stage} index=${index} stages=${stages}
      existing=${existing} problemAt=${problemAt} onChange=${(/** @type {any} */ changed) => set(["spec", "stages", index], changed)} />`)}
    <button type="button" class="button" onClick=${() => set(["spec", "stages"], [...stages, nextStage(stages)])}>
      <${Icon} name="plus" /> Add a stage</button>
    ${GROUPS.map(({ title, fields }) => html`<section class="card form-card" key=${title}><h2>${title}</h2>
      <div class="fields">${fields.map(field)}</div></section>`)}
  </div>`;
}

/** @param {any[]} stages */
function nextStage(stages) {
  const last = stages.at(-1);
  const names = new Set(stages.map((stage) => stage.name));
  let name = last ? "clip" : "image";
  for (let number = 2; names.has(name); number += 1) name = `stage-${number}`;
  return { name, ...(last ? { after: [last.name] } : {}), generate: { command: GENERATOR_FIRST.command } };
}

/** @param {{manifest: any, set: (path: string[], value: unknown) => void, namespaces: string[]}} props */
function NamespaceField({ manifest, set, namespaces }) {
  return html`<div class="field"><label>Namespace
    <select value=${manifest.metadata?.namespace ?? namespaces[0] ?? "default"}
      onChange=${(/** @type {any} */ event) => set(["metadata", "namespace"], event.target.value)}>
      ${(namespaces.length ? namespaces : ["default"]).map((name) => html`<option value=${name}>${name}</option>`)}</select></label></div>`;
}

/** @param {{stage: any, index: number, stages: any[], existing: boolean, problemAt: (path: string) => string, onChange: (stage: any) => void}} props */
function StageForm({ stage, index, stages, existing, problemAt, onChange }) {
  const generator = generatorOf(stage);
  // A generator that was left and is chosen again comes back as it was.
  const [left, setLeft] = useState(/** @type {Record<string, any>} */ ({}));
  const [known] = useState(() => (existing ? stage.name : null));
  const config = stage.generate?.[generator];
  const set = (/** @type {(string | number)[]} */ path, /** @type {unknown} */ value) => onChange(put(stage, path, value));
  const choose = (/** @type {string} */ name) => {
    setLeft({ ...left, [generator]: config });
    onChange({ ...stage, generate: { [name]: left[name] ?? GENERATOR_FIRST[name] } });
  };
  const base = `spec.stages[${index}]`;
  const others = stages.filter((_, other) => other !== index).map((each) => each.name).filter(Boolean);
  const after = new Set(stage.after ?? []);
  const link = (/** @type {string} */ name) => {
    if (!after.delete(name)) after.add(name);
    set(["after"], after.size ? [...after] : undefined);
  };
  return html`<section class="card form-card">
    <header class="form-head"><h2>Stage ${stage.name || index + 1}</h2>
      ${stages.length > 1 && known === null && html`<button type="button" class="plain" aria-label=${`Remove stage ${stage.name}`} onClick=${() => onChange(undefined)}>
        <${Icon} name="trash" /></button>`}</header>
    <div class="fields">
      ${known === null && html`<${Field} field=${{ path: ["name"], label: "Name", kind: "text" }} value=${stage.name} problem=${problemAt(`${base}.name`)}
        onChange=${(/** @type {unknown} */ value) => set(["name"], value)} />`}
      <div class="field"><label>Made by
        <select value=${generator} onChange=${(/** @type {any} */ event) => choose(event.target.value)}>
          ${GENERATORS.map((name) => html`<option value=${name}>${name}</option>`)}</select></label></div>
      ${generatorFields(generator, config).map((each) => html`<${Field} key=${`${generator}.${each.label}`} field=${each} value=${at(config, each.path)}
        problem=${problemAt(`${base}.generate.${generator}.${each.path.join(".")}`)}
        onChange=${(/** @type {unknown} */ value) => set(["generate", generator, ...each.path], value ?? (each.path.length > 1 ? "" : undefined))} />`)}
    </div>
    ${others.length > 0 && html`<fieldset class="inline"><legend>After</legend>${others.map((name) => html`<label class="tick" key=${name}>
      <input type="checkbox" checked=${(stage.after ?? []).includes(name)} onChange=${() => link(name)} /><span>${name}</span></label>`)}</fieldset>`}
    <div class="inline">
      <label class="tick"><input type="checkbox" checked=${stage.each === "job"} onChange=${(/** @type {any} */ event) => set(["each"], event.target.checked ? "job" : undefined)} />
        <span>One unit for the whole job, made of all items</span></label>
      <label class="tick"><input type="checkbox" checked=${stage.approval === "Required"} onChange=${(/** @type {any} */ event) => set(["approval"], event.target.checked ? "Required" : undefined)} />
        <span>Waits for approval</span></label></div>
  </section>`;
}
