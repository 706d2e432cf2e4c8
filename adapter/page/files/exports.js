// What the visitor takes away: text, JSON, a PDF.

/** Copy text; resolves to whether that was let. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages of plain HTTP have no clipboard; the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Have the browser save a Blob. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The download has its own hold on the data by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The file's name with another ending. */
export function renamed(name, ending) {
  return `${name.replace(/\.[^.]+$/, "") || "page"}${ending}`;
}
