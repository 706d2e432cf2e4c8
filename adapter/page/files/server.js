// The server's answers, and its refusals as errors in words.

import { t } from "./i18n.js";

let key = null;

/** A refusal or a failure; `message` is for the visitor. */
export class ServerError extends Error {
  /** `status` is HTTP's, 0 where no answer came, null where it began well; `detail` is what the server said. */
  constructor(status, detail) {
    super([status === null ? "" : t(nameOf(status)), detail].filter(Boolean).join(" "));
    this.status = status;
  }
}

function nameOf(status) {
  if (status === 0) return "unreachable";
  if ([401, 403, 404, 413, 429, 503, 504].includes(status)) return `status${status}`;
  return status < 500 ? "status400" : "status500";
}

export async function models() {
  return (await call("page/models")).json();
}

/** Read a file: its answer's lines, the first with the number of pages, then one for each page. */
export async function* read(file, options, signal) {
  yield* lines(await call("page/read", { method: "POST", body: form({ file, ...options }), signal }));
}

export async function searchablePdf(file, pages) {
  const body = form({ file, pages: new Blob([JSON.stringify(pages)], { type: "application/json" }) });
  return (await call("page/searchable_pdf", { method: "POST", body })).blob();
}

/** What dots.ocr writes about a picture, as it writes it. */
export async function* dots(picture, promptType, signal) {
  const body = JSON.stringify({
    image: await dataUrl(picture),
    image_format: "base64",
    prompt_type: promptType,
    stream: true,
  });
  const headers = { "Content-Type": "application/json" };
  for await (const line of lines(await call("dots/ocr", { method: "POST", body, headers, signal }))) {
    yield { ...line, text: line.response };
  }
}

/** What InternVL writes about a picture, as it writes it. */
export async function* internvl(picture, prompt, signal) {
  yield* lines(await call("page/ask", { method: "POST", body: form({ file: picture, prompt }), signal }));
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== null && value !== undefined) data.append(name, value);
  }
  return data;
}

async function call(path, { headers = {}, ...init } = {}) {
  let response;
  try {
    response = await fetch(path, { ...init, headers: key ? { ...headers, "X-API-Key": key } : headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerError(0, "");
  }
  if (response.ok) return response;
  if (response.status === 401 && (await askForKey())) return call(path, { headers, ...init });
  throw new ServerError(response.status, await words(response));
}

async function words(response) {
  try {
    const body = await response.json();
    return body.error ?? body.errorMsg ?? "";
  } catch {
    return response.statusText;
  }
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    let chunk;
    try {
      chunk = await reader.read();
    } catch (error) {
      throw error.name === "AbortError" ? error : new ServerError(0, "");
    }
    const whole = (rest + (chunk.value ?? "")).split("\n");
    rest = chunk.done ? "" : whole.pop();
    for (const line of whole.filter(Boolean)) {
      const entry = JSON.parse(line);
      if (entry.error) throw new ServerError(null, entry.error);
      yield entry;
    }
    if (chunk.done) return;
  }
}

async function dataUrl(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let binary = "";
  // As many as may be arguments of a call.
  for (let start = 0; start < bytes.length; start += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return `data:${blob.type || "application/octet-stream"};base64,${btoa(binary)}`;
}

/** Whether the visitor gave a key; it is forgotten with the page. */
function askForKey() {
  const dialog = document.querySelector("#key");
  const input = dialog.querySelector("input");
  input.value = "";
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue === "given") key = input.value;
        resolve(dialog.returnValue === "given" && Boolean(key));
      },
      { once: true },
    );
  });
}
