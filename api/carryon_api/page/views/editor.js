/** A new job, or another spec for one that is there: a form and its YAML, checked by the API before it is sent. */

import { html, useEffect, useLayoutEffect, useRef, useState, useTitle } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { JobForm } from "./form.js";
import { Inputs } from "./inputs.js";
import { bare, FIRST } from "../model/manifest.js";
import { toJob } from "../model/route.js";
import { counted } from "../model/wording.js";
import { complain } from "../acting.js";
import { hold } from "../leaving.js";
import { jobPath, Problem, request } from "../net/api.js";
import { toast, useStore } from "../state.js";
import { dump, load } from "../yaml.js";

/** Milliseconds without a key pressed after which the API looks at what was written. */
const PAUSE = 500;
/** Times an edit is sent anew because the job's status has changed since. */
const REPLACE_TRIES = 10;

/** @typedef {{severity: "error" | "warning" | "note", field: string, message: string}} Finding */

export function NewView() {
  useTitle("New job");
  const canCreate = useStore((state) => state.session.canCreate) ?? {};
  const namespaces = Object.keys(canCreate).filter((name) => canCreate[name]).sort();
  const send = async (/** @type {string} */ text, /** @type {any} */ manifest) => {
    const namespace = manifest.metadata?.namespace ?? namespaces[0] ?? "default";
    const made = await request("POST", `/namespaces/${encodeURIComponent(namespace)}/jobs`, { body: text, type: "application/yaml" });
    toast("done", `${made.name} has been created`);
    location.hash = toJob(made);
  };
  return html`<main id="main" class="page" tabindex="-1"><div class="page-head"><h1>New job</h1></div>
    <${Editor} first=${FIRST} namespaces=${namespaces} existing=${false} label="Create the job" send=${send} /></main>`;
}

/** @param {{namespace: string, name: string}} props */
export function EditView({ namespace, name }) {
  useTitle(`Edit ${name}`);
  const job = { namespace, name };
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState("");
  const [stale, setStale] = useState(false);
  const read = () => request("GET", jobPath(job)).then((detail) => {
    if (holdsLarge(detail.object.spec)) setProblem(`${name} holds a whole number beyond 2^53, which a browser would change: edit it with kubectl edit gj ${name}`);
    else setFound(detail.object);
    setStale(false);
  }).catch((error) => (error instanceof Problem ? setProblem(error.message) : Promise.reject(error)));
  useEffect(() => { read(); }, []);
  const send = async (/** @type {string} */ _text, /** @type {any} */ manifest) => {
    try {
      const answer = await replaced(job, manifest, found);
      toast("done", answer?.message ?? `${name} has been changed: what it changes is made anew, all else is kept`);
      location.hash = toJob(job);
    } catch (error) {
      if (error instanceof Problem && error.status === 409) setStale(true);
      throw error;
    }
  };
  return html`<main id="main" class="page" tabindex="-1">
    <p class="crumbs"><a href=${toJob(job)}><${Icon} name="back" />${name}</a></p>
    <div class="page-head"><h1>Edit ${name}</h1></div>
    ${problem && html`<p class="error" role="alert">${problem}</p>`}
    ${stale && html`<div class="notice held" role="alert"><${Icon} name="alert" /><p>Somebody has changed this job meanwhile.</p>
      <button class="button small" onClick=${read}>Take theirs and begin again</button></div>`}
    ${found && html`<${Editor} key=${found.metadata.resourceVersion} first=${bare(found)} namespaces=${[namespace]} existing label="Save" send=${send} job=${job} />`}
  </main>`;
}

/**
 * Put a manifest in a job's place, unless somebody else has edited it. Its status may have changed meanwhile, as that of
 * a running job does all the time, and only that.
 * @param {{namespace: string, name: string}} job
 * @param {any} manifest
 * @param {any} seen The job that the manifest was made from.
 * @throws {Problem} 409 where somebody has.
 */
async function replaced(job, manifest, seen) {
  let { resourceVersion } = seen.metadata;
  for (let tries = 0; ; tries += 1) {
    try {
      return await request("PUT", jobPath(job), { json: { ...manifest, metadata: { ...manifest.metadata, resourceVersion } } });
    } catch (error) {
      if (!(error instanceof Problem && error.status === 409) || tries === REPLACE_TRIES) throw error;
      const { object } = await request("GET", jobPath(job));
      if (dump(bare(object)) !== dump(bare(seen))) throw error;
      ({ resourceVersion } = object.metadata);
    }
  }
}

/**
 * @param {{first: any, namespaces: string[], existing: boolean, label: string, job?: {namespace: string, name: string},
 *   send: (text: string, manifest: any) => Promise<void>}} props
 */
function Editor({ first, namespaces, existing, label, job, send }) {
  const [way, setWay] = useState("form");
  const [manifest, setManifest] = useState(first);
  const [text, setText] = useState(() => dump(first));
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const namespace = manifest.metadata?.namespace ?? namespaces[0] ?? "default";
  const { findings, check } = useFindings(text, namespace);
  const summary = useRef(/** @type {HTMLElement | null} */ (null));
  const before = useRef(text);
  const what = text === before.current ? "" : existing ? `Your edit of ${manifest.metadata?.name ?? "the job"}` : "Your new job";
  // Before anything else is done: whoever types and goes back at once is asked too.
  useLayoutEffect(() => {
    hold(what);
    return () => hold("");
  }, [what]);
  const typeText = (/** @type {string} */ written) => {
    setText(written);
    try {
      const read = load(written);
      if (typeof read !== "object" || read === null) throw new SyntaxError("this is no job: begin with apiVersion, kind, metadata and spec");
      setManifest(read);
      setWrong("");
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      setWrong(error.message);
    }
  };
  const change = (/** @type {any} */ changed) => {
    const clean = withoutGaps(changed);
    setManifest(clean);
    setText(dump(clean));
    setWrong("");
  };
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const errors = wrong ? [wrong] : (await check()).filter((each) => each.severity === "error");
      if (errors.length) summary.current?.focus();
      else await send(text, manifest).then(() => hold(""));
    } catch (error) {
      complain(error);
    } finally {
      setBusy(false);
    }
  };
  const problemAt = (/** @type {string} */ path) =>
    besideField(findings?.find((each) => each.severity !== "note" && same(each.field, path))?.message ?? "");
  return html`<form class="editor" onSubmit=${submit} noValidate>
    <div class="segments" role="group" aria-label="Edit as">
      <button type="button" aria-pressed=${way === "form" ? "true" : "false"} disabled=${Boolean(wrong)} onClick=${() => setWay("form")}>Form</button>
      <button type="button" aria-pressed=${way === "yaml" ? "true" : "false"} onClick=${() => setWay("yaml")}>YAML</button></div>
    <div class="editor-body">
      <div>${way === "form" ? html`<${JobForm} manifest=${manifest} onChange=${change} problemAt=${problemAt} existing=${existing} namespaces=${namespaces} />`
        : html`<textarea class="yaml mono" aria-label="The job as YAML" spellcheck=${false} value=${text} rows=${Math.max(24, text.split("\n").length + 2)}
            onInput=${(/** @type {any} */ event) => typeText(event.target.value)} onKeyDown=${indent}></textarea>`}</div>
      <aside class="editor-side"><div class="card form-card sticky">
        <${Findings} findings=${findings} wrong=${wrong} heading=${summary} />
        <button class="button go solid" disabled=${busy}>${busy ? "Sending…" : label}</button></div>
        ${job && html`<${Inputs} job=${job} />`}</aside>
    </div>
  </form>`;
}

/**
 * Whether a whole number in here is too large to be kept in JavaScript: it has become another already.
 * @param {any} value
 * @returns {boolean}
 */
function holdsLarge(value) {
  if (typeof value === "object" && value !== null) return Object.values(value).some(holdsLarge);
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
}

/**
 * What the API finds in a job, looked at again whenever somebody stops writing.
 * @param {string} text
 * @param {string} namespace
 */
function useFindings(text, namespace) {
  const [findings, setFindings] = useState(/** @type {Finding[] | null} */ (null));
  const latest = useRef(0);
  const check = async () => {
    const mine = (latest.current += 1);
    const query = new URLSearchParams({ namespace });
    const found = await request("POST", `/validate?${query}`, { body: text, type: "application/yaml" });
    if (mine === latest.current) setFindings(found.findings);
    return /** @type {Finding[]} */ (found.findings);
  };
  useEffect(() => {
    const timer = setTimeout(() => check().catch((error) => {
      if (!(error instanceof Problem)) throw error;
      // What can't even be read is a finding too; an API that does not answer is the banner's business.
      if (error.status === 400 || error.status === 422) setFindings([{ severity: "error", field: "", message: error.message }]);
    }), PAUSE);
    return () => clearTimeout(timer);
  }, [text, namespace]);
  return { findings, check };
}

/** @param {{findings: Finding[] | null, wrong: string, heading: any}} props */
function Findings({ findings, wrong, heading }) {
  const all = wrong ? [{ severity: "error", field: "", message: wrong }] : findings ?? [];
  const errors = all.filter((each) => each.severity === "error").length;
  const said = findings === null && !wrong ? "Checking…" : errors ? `${counted(errors, "thing")} to put right` : all.length ? "Valid, with remarks" : "Valid";
  return html`<div class="findings"><h2 tabindex="-1" ref=${heading} class=${errors ? "error" : ""} aria-live="polite">${said}</h2>
    <ul>${all.map((each, at) => html`<li key=${at} class=${each.severity}>${each.field && html`<code>${each.field}</code> `}${each.message}</li>`)}</ul></div>`;
}

/**
 * An API server's sentence without what stands beside it anyway: the field and its value.
 * @param {string} message
 */
function besideField(message) {
  return /^(?:Invalid|Unsupported) value: .*?: (?:\S+ in body )?(.*)$/s.exec(message)?.[1] ?? message;
}

/**
 * Whether a finding is about a field, however it writes indexes.
 * @param {string} field
 * @param {string} path
 */
function same(field, path) {
  const plain = (/** @type {string} */ text) => text.replace(/\[(\d+|\w+=[^\]]*)\]/g, ".$1").replace(/^\.+/, "");
  return plain(field) === plain(path);
}

/** A stage that was taken out leaves no gap. @param {any} manifest */
function withoutGaps(manifest) {
  const stages = manifest.spec?.stages;
  return stages?.includes(undefined) ? { ...manifest, spec: { ...manifest.spec, stages: stages.filter(Boolean) } } : manifest;
}

/** Return keeps the indentation; Tab leaves the editor, as everywhere. @param {KeyboardEvent} event */
function indent(event) {
  if (event.key !== "Enter") return;
  const area = /** @type {HTMLTextAreaElement} */ (event.target);
  const line = area.value.slice(0, area.selectionStart).split("\n").at(-1) ?? "";
  const spaces = /^ */.exec(line)?.[0] ?? "";
  if (!spaces) return;
  event.preventDefault();
  area.setRangeText(`\n${spaces}`, area.selectionStart, area.selectionEnd, "end");
  area.dispatchEvent(new Event("input", { bubbles: true }));
}
