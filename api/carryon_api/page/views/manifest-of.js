/** The manifest of a job as Kubernetes has it, for what neither summary nor status tells. */

import { useEffect, useState } from "../ui/element.js";
import { complain } from "../acting.js";
import { get, jobPath } from "../net/api.js";

/** Milliseconds between two looks at least: a manifest may have hundreds of kilobytes, and changes with every unit. */
const REST = 4000;

/**
 * The manifest, looked at again after the job has changed; null before the first look.
 * @param {import("../model/types.js").JobSummary} job
 * @param {(manifest: any) => boolean} wanted Whether it is to be looked at (again), given what is known of it.
 */
export function useManifest(job, wanted) {
  const [seen, setSeen] = useState(/** @type {{manifest: any, at: number}} */ ({ manifest: null, at: 0 }));
  const wants = wanted(seen.manifest);
  useEffect(() => {
    if (!wants) return undefined;
    const leave = new AbortController();
    const look = () => get(jobPath(job), leave.signal)
      .then((detail) => setSeen({ manifest: detail.object, at: Date.now() }))
      .catch((error) => leave.signal.aborted || complain(error));
    const timer = setTimeout(look, Math.max(0, seen.at + REST - Date.now()));
    return () => {
      clearTimeout(timer);
      leave.abort();
    };
  }, [wants, job.resourceVersion]);
  return seen.manifest;
}
