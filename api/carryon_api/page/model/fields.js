/** What the form offers of a job's spec: the settings that most jobs need. All others stay as the YAML has them. */

/**
 * @typedef {object} Field
 * @property {(string | number)[]} path In the manifest, or in the part that the group is about.
 * @property {string} label
 * @property {"text" | "number" | "choice" | "json" | "long" | "switch"} kind
 * @property {string} [hint]
 * @property {string[]} [choices]
 * @property {string} [unset] What holds without a value.
 */

/** @type {{title: string, fields: Field[]}[]} */
export const GROUPS = [
  { title: "How it runs", fields: [
    { path: ["spec", "parallelism"], label: "Pods at a time", kind: "number", unset: "1" },
    { path: ["spec", "unitsPerPod"], label: "Units a pod", kind: "number", unset: "1", hint: "more than one: a model load serves several" },
    { path: ["spec", "seed"], label: "Seed", kind: "number", unset: "0" },
    { path: ["spec", "checkpoint", "policy"], label: "Checkpoints", kind: "choice", choices: ["Off", "Low", "Medium", "High"], unset: "Medium",
      hint: "work a killed pod may lose: 60 s, 15 s, 5 s" },
    { path: ["spec", "suspend"], label: "Suspended: for dropping input files on its editor before it starts", kind: "switch" },
  ] },
  { title: "When something fails", fields: [
    { path: ["spec", "retry", "perUnit"], label: "Attempts a unit", kind: "number", unset: "3" },
    { path: ["spec", "retry", "rounds"], label: "Rounds over what is missing", kind: "number", unset: "2" },
    { path: ["spec", "timeouts", "stall"], label: "Stuck after", kind: "text", unset: "5m" },
    { path: ["spec", "timeouts", "unit"], label: "Longest attempt", kind: "text", unset: "no limit" },
    { path: ["spec", "timeouts", "job"], label: "Longest job", kind: "text", unset: "no limit" },
    { path: ["spec", "limits", "gpuSeconds"], label: "GPU seconds at most", kind: "number", unset: "no limit" },
  ] },
  { title: "Where results go", fields: [
    { path: ["spec", "output", "uri"], label: "Output", kind: "text", unset: "the default store", hint: "s3://bucket/prefix" },
    { path: ["spec", "output", "endpoint"], label: "S3 endpoint", kind: "text", unset: "AWS" },
    { path: ["spec", "output", "credentialsSecret", "name"], label: "Secret with its keys", kind: "text", unset: "none" },
    { path: ["spec", "output", "onDelete"], label: "When the job is deleted", kind: "choice", choices: ["Retain", "Delete"], unset: "Retain" },
    { path: ["spec", "ttlSecondsAfterFinished"], label: "Delete it after so many seconds", kind: "number", unset: "never" },
  ] },
];

/** Generator -> what the form offers of it. @type {Record<string, Field[]>} */
const GENERATOR_FIELDS = {
  diffusers: [
    { path: ["model"], label: "Model", kind: "text", hint: "an id on a hub, a folder, or s3://…" },
    { path: ["pipeline"], label: "Pipeline", kind: "text", unset: "the model's own" },
    { path: ["dtype"], label: "Precision", kind: "choice", choices: ["float32", "float16", "bfloat16"], unset: "bfloat16" },
    { path: ["params"], label: "Params", kind: "json", hint: 'JSON; templates such as "{{ item.prompt }}"' },
  ],
  text: [
    { path: ["model"], label: "Model", kind: "text", hint: "an id on a hub, a folder, or s3://…" },
    { path: ["system"], label: "System", kind: "text", unset: "none" },
    { path: ["prompt"], label: "Prompt", kind: "long" },
    { path: ["maxNewTokens"], label: "Tokens at most", kind: "number" },
  ],
  command: [
    { path: ["args"], label: "Command line", kind: "json", hint: 'JSON: ["python3", "make.py", "{{ item.prompt }}"]' },
    { path: ["env"], label: "Variables", kind: "json", hint: 'JSON: [{"name": "STYLE", "value": "{{ item.style }}"}]' },
  ],
  http: [
    { path: ["url"], label: "Submit to", kind: "text" },
    { path: ["body"], label: "Body", kind: "json" },
    { path: ["id"], label: "Id in the answer", kind: "text", unset: "/id" },
    { path: ["poll"], label: "Poll", kind: "json" },
    { path: ["result"], label: "Result", kind: "json" },
  ],
};

/** What takes the place of the command line where a shell runs a script. @type {Field} */
export const SCRIPT = { path: ["args", 2], label: "Script", kind: "long", hint: "files left in $CARRYON_OUTPUT are kept" };

/**
 * The fields of a stage's generator.
 * @param {string} generator
 * @param {any} config
 */
export function generatorFields(generator, config) {
  const [shell, flag, script] = config?.args ?? [];
  const runsScript = /(^|\/)(ba|da)?sh$/.test(shell ?? "") && /^-[a-z]*c$/.test(flag ?? "") && typeof script === "string";
  const fields = GENERATOR_FIELDS[generator] ?? [];
  return generator === "command" && runsScript ? [SCRIPT, ...fields.slice(1)] : fields;
}

/** What a generator begins with. @type {Record<string, any>} */
export const GENERATOR_FIRST = {
  diffusers: { model: "", params: { prompt: "{{ item.prompt }}" } },
  text: { model: "", prompt: "{{ item.prompt }}" },
  command: { args: ["sh", "-c", 'echo "$CARRYON_ITEM" > "$CARRYON_OUTPUT/made.txt"'] },
  http: { url: "", body: { prompt: "{{ item.prompt }}" } },
};

/**
 * What somebody typed, as the manifest has it; undefined for nothing.
 * @param {Field} field
 * @param {string} text
 * @throws {SyntaxError} It is no JSON.
 */
export function parsed(field, text) {
  if (text.trim() === "") return undefined;
  if (field.kind === "number") return Number.isFinite(Number(text)) ? Number(text) : text;
  return field.kind === "json" ? JSON.parse(text) : text;
}

/**
 * A value as it is typed.
 * @param {Field} field
 * @param {unknown} value
 */
export function typed(field, value) {
  if (value === undefined || value === null) return "";
  return field.kind === "json" ? JSON.stringify(value, null, 1) : String(value);
}
