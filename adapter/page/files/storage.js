// What the browser keeps for the visitor. Storage may be forbidden: then nothing is kept.

export function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Only this visit knows it.
  }
}
