// The layout that dots.ocr writes: elements with a box, a category and a text.

/** Hues, in degrees, of the categories. */
export const HUES = {
  Title: 12,
  "Section-header": 30,
  Text: 215,
  "List-item": 190,
  Table: 140,
  Formula: 285,
  Picture: 330,
  Caption: 60,
  Footnote: 250,
  "Page-header": 165,
  "Page-footer": 100,
};

/** The elements in as much of the layout as has come: what has come ends with a whole one. Null where it is none. */
export function elementsOf(written) {
  const body = written.trim().replace(/\]$/, "").replace(/,\s*$/, "");
  if (body && !body.startsWith("[")) return null;
  try {
    return JSON.parse(`${body || "["}]`).filter((element) => element && typeof element === "object");
  } catch {
    return null;
  }
}

/** The element's box, `scale` times as large, as a quad; null where it has none. */
export function quadOf({ bbox }, scale) {
  if (!Array.isArray(bbox)) return null;
  const [x0, y0, x1, y1] = bbox.map((value) => value * scale);
  return [
    [x0, y0],
    [x1, y0],
    [x1, y1],
    [x0, y1],
  ];
}
