/** A job's manifest as the page edits it: plain objects, read and changed by paths. Pure. */

/** What a server adds to metadata, and nobody edits. */
const SERVED = ["managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "deletionTimestamp",
  "deletionGracePeriodSeconds", "finalizers"];

/** What a new job begins with. */
export const FIRST = {
  apiVersion: "carryon.dev/v1alpha1",
  kind: "GenerationJob",
  metadata: { name: "" },
  spec: {
    parallelism: 2,
    items: { list: [{ id: "dunes", params: { prompt: "dunes at dawn" } }] },
    stages: [{ name: "image", generate: { diffusers: { model: "", params: { prompt: "{{ item.prompt }}" } } } }],
  },
};

/**
 * A manifest without what the server adds.
 * @param {any} object
 */
export function bare(object) {
  const metadata = Object.fromEntries(Object.entries(object.metadata).filter(([key]) => !SERVED.includes(key)));
  return { apiVersion: object.apiVersion, kind: object.kind, metadata, spec: object.spec };
}

/**
 * The value at a path of a manifest; undefined where there is none.
 * @param {any} manifest
 * @param {(string | number)[]} path
 */
export function at(manifest, path) {
  return path.reduce((value, key) => (value == null ? undefined : value[key]), manifest);
}

/**
 * A manifest with another value at a path; undefined takes it out, and with it what would be left empty.
 * @template T
 * @param {T} manifest
 * @param {(string | number)[]} path
 * @param {unknown} value
 * @returns {T}
 */
export function put(manifest, path, value) {
  if (!path.length) return /** @type {T} */ (value);
  const [key, ...rest] = path;
  if (Array.isArray(manifest)) {
    const copy = [...manifest];
    if (value === undefined && !rest.length) copy.splice(Number(key), 1);
    else copy[Number(key)] = put(copy[Number(key)], rest, value);
    return /** @type {any} */ (copy);
  }
  const known = /** @type {any} */ (manifest ?? {});
  const inner = put(known[key], rest, value);
  if (inner === undefined || (value === undefined && isEmpty(inner))) {
    const { [key]: _, ...others } = known;
    return /** @type {any} */ (others);
  }
  return { ...known, [key]: inner };
}

/** @param {unknown} value */
const isEmpty = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !Object.keys(value).length;

/** The generators that a stage may have. */
export const GENERATORS = ["diffusers", "text", "command", "http"];

/**
 * The generator of a stage.
 * @param {any} stage
 * @returns {string}
 */
export function generatorOf(stage) {
  return GENERATORS.find((name) => stage?.generate?.[name]) ?? "";
}

/**
 * How items are given.
 * @param {any} items
 * @returns {"list" | "count" | "from"}
 */
export function itemsKind(items) {
  if (items?.count != null) return "count";
  return items?.from != null ? "from" : "list";
}

/**
 * The settings that people ask for first.
 * @param {any} manifest
 * @returns {[string, string][]}
 */
export function summary({ spec }) {
  /** @type {[string, unknown][]} */
  const shown = [
    ["Items", itemsWords(spec.items)],
    ["Stages", spec.stages.map((/** @type {any} */ stage) => `${stage.name} (${generatorOf(stage)})`).join(" → ")],
    ["Pods at a time", spec.parallelism ?? 1],
    ["Units a pod", spec.unitsPerPod ?? 1],
    ["Seed", spec.seed ?? 0],
    ["Attempts", spec.retry?.perUnit ?? 3],
    ["Rounds", spec.retry?.rounds ?? 2],
    ["Checkpoints", spec.checkpoint?.everySeconds ? `every ${spec.checkpoint.everySeconds} s` : spec.checkpoint?.policy ?? "Medium"],
    ["Stall limit", spec.timeouts?.stall ?? "5m"],
    ["Output", spec.output?.uri],
    ["Suspended until", spec.suspendUntil],
    ["GPU seconds at most", spec.limits?.gpuSeconds],
    ["Overrides", spec.overrides?.length || undefined],
  ];
  return shown.filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => [name, String(value)]);
}

/** @param {any} items */
function itemsWords(items) {
  const kind = itemsKind(items);
  if (kind === "count") return String(items.count);
  if (kind === "list") return String(items?.list?.length ?? 0);
  const { uri, configMapKeyRef: map } = items.from;
  return `from ${uri ?? `ConfigMap ${map?.name}`}`;
}
