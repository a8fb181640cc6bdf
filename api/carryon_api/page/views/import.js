/** An archive before it becomes a job: what is in it, and what will happen. */

import { html, useEffect, useId, useState, useTitle } from "../ui/element.js";
import { chooseArchive, DropZone } from "../ui/drop.js";
import { Icon } from "../ui/icons.js";
import { summary } from "../model/manifest.js";
import { toJob } from "../model/route.js";
import { counted, moment, number, size } from "../model/wording.js";
import { complain } from "../acting.js";
import { Problem, request } from "../net/api.js";
import { upload } from "../net/upload.js";
import { toast, update, useStore } from "../state.js";

/** Bytes of an archive in which its manifest and job lie: they come first. As many as the API reads. */
const HEAD = 6 * 1024 * 1024;

export function ImportView() {
  useTitle("Import");
  const file = useStore((state) => state.archive);
  const [seen, setSeen] = useState(/** @type {any} */ (null));
  const [refused, setRefused] = useState("");
  useEffect(() => {
    setSeen(null);
    setRefused("");
    if (!file) return undefined;
    const leave = new AbortController();
    request("POST", "/archives/inspect", { body: file.slice(0, HEAD), type: "application/zip", signal: leave.signal })
      .then(setSeen).catch((error) => {
        if (leave.signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        setRefused(error.message);
      });
    return () => leave.abort();
  }, [file]);
  return html`<main id="main" class="page narrow" tabindex="-1">
    <div class="page-head"><h1>Import an archive</h1></div>
    <${DropZone} label=${file ? "Drop another archive" : "Drop a .carryon archive here, or choose one"} hint="Nothing happens before you have seen what is in it."
      accept=".carryon,application/zip" onFiles=${([first]) => first && chooseArchive(first)} />
    <div aria-live="polite">
      ${refused && html`<div class="notice failed" role="alert"><${Icon} name="alert" /><p><strong>${file?.name} can't be used.</strong> ${refused}</p></div>`}
      ${file && !seen && !refused && html`<p class="empty">Looking into ${file.name}…</p>`}
      ${file && seen && html`<${Preview} key=${file.name + file.size} file=${file} seen=${seen} />`}
    </div>
  </main>`;
}

/** @param {{file: File, seen: any}} props */
function Preview({ file, seen }) {
  const canCreate = useStore((state) => state.session.canCreate) ?? {};
  const namespaces = Object.keys(canCreate).filter((name) => canCreate[name]).sort();
  const [name, setName] = useState(seen.name);
  const [namespace, setNamespace] = useState(namespaces.includes(seen.namespace) ? seen.namespace : namespaces[0] ?? "default");
  const [secrets, setSecrets] = useState(/** @type {Record<string, string>} */ (Object.fromEntries(Object.keys(seen.secrets).map((each) => [each, each]))));
  const [start, setStart] = useState(false);
  const [share, setShare] = useState(/** @type {number | null} */ (null));
  const ids = useId("import");
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setShare(0);
    try {
      const query = new URLSearchParams({ name, start: String(start) });
      for (const [old, replacement] of Object.entries(secrets)) query.append("secret", `${old}=${replacement}`);
      const made = await upload("POST", `/namespaces/${encodeURIComponent(namespace)}/archives?${query}`, file, setShare);
      toast("done", `Imported: ${made.message}`);
      update({ archive: null });
      location.hash = toJob(made.job);
    } catch (error) {
      setShare(null);
      complain(error);
    }
  };
  return html`<form class="card form-card preview-card" onSubmit=${send}>
    <h2>${file.name} <span class="muted">${size(file.size)}</span></h2>
    <p class="preview-said">${seen.message}</p>
    <${Contents} seen=${seen} />
    <div class="fields"><div class="field"><label for=${`${ids}-name`}>Name</label>
        <input id=${`${ids}-name`} required maxlength="40" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} /></div>
      <div class="field"><label for=${`${ids}-namespace`}>Namespace</label>
        <select id=${`${ids}-namespace`} value=${namespace} onChange=${(/** @type {any} */ event) => setNamespace(event.target.value)}>
          ${(namespaces.length ? namespaces : ["default"]).map((each) => html`<option value=${each}>${each}</option>`)}</select></div>
      ${Object.entries(seen.secrets).map(([old, field]) => html`<div class="field" key=${old}><label for=${`${ids}-${old}`}>Secret in the place of ${old}</label>
        <input id=${`${ids}-${old}`} required value=${secrets[old]} onInput=${(/** @type {any} */ event) => setSecrets({ ...secrets, [old]: event.target.value })} />
        <p class="field-hint">${field}</p></div>`)}</div>
    <label class="tick"><input type="checkbox" checked=${start} onChange=${(/** @type {any} */ event) => setStart(event.target.checked)} />
      <span>Start it at once<span class="muted">Otherwise it is suspended until you resume it.</span></span></label>
    <div class="dialog-actions">
      <button class="button" type="button" onClick=${() => update({ archive: null })}>Put it away</button>
      <button class="button go solid" disabled=${share !== null}>${share === null ? "Import" : share < 1 ? `Sending ${Math.round(share * 100)} %` : "Checking…"}</button></div>
    ${share !== null && html`<progress max="1" value=${share} aria-label="Upload of the archive"></progress>`}
  </form>`;
}

/** What is in it, as far as its first bytes tell. @param {{seen: any}} props */
function Contents({ seen }) {
  /** @type {[string, string][]} */
  const facts = [
    ["From", seen.origin], ["Exported", moment(seen.created)],
    ...seen.stages.map((/** @type {any} */ stage) => [`Stage ${stage.name}`, `${number(stage.done)} of ${counted(stage.total, "unit")} done`]),
    ...(seen.job?.spec ? summary(seen.job) : []),
  ];
  return html`<dl class="facts">${facts.filter(([label]) => label !== "Stages").map(([label, value]) => html`<dt>${label}</dt><dd>${value}</dd>`)}</dl>
    ${seen.halfDone.length > 0 && html`<div><h3>Half done</h3><ul class="half-done">${seen.halfDone.map((/** @type {any} */ each) => html`<li key=${`${each.stage}/${each.item}`}>
      <span class="swatch active"></span> ${each.stage} ${each.item}
      ${each.step !== null && html` <span class="muted">goes on at step ${each.step}${each.steps ? `/${each.steps}` : ""}</span>`}
      ${each.usable === false && html` <span class="failed-text">not on this GPU: begins anew</span>`}</li>`)}</ul></div>`}
    ${seen.notes.length > 0 && html`<ul class="notes">${seen.notes.map((/** @type {string} */ each) => html`<li key=${each}>${each}</li>`)}</ul>`}`;
}
