/** Uploads with their progress, which fetch does not tell. */

import { Problem } from "./api.js";

/**
 * Send a file.
 * @param {string} method
 * @param {string} path Below /api/v1.
 * @param {Blob} body
 * @param {(share: number) => void} [onProgress] From 0 to 1.
 * @returns {Promise<any>} The parsed answer.
 * @throws {Problem}
 */
export function upload(method, path, body, onProgress = () => {}) {
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    sent.open(method, `/api/v1${path}`);
    sent.setRequestHeader("X-Carryon", "1");
    sent.setRequestHeader("Content-Type", body.type || "application/octet-stream");
    sent.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    sent.onload = () => {
      const answer = parsed(sent.responseText);
      if (sent.status < 300) resolve(answer);
      else reject(new Problem(sent.status, answer ?? { detail: `the API answered ${sent.status}` }));
    };
    sent.onerror = () => reject(new Problem(0, { detail: "the upload was cut off: check the connection, try again" }));
    sent.send(body);
  });
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
