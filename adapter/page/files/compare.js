// Two readings of one page, line by line and character by character.

// Of the smaller of two boxes; beyond it they hold the same line.
const SAME = 0.5;

/** Pairs of indices of lines in `a` and `b` that stand at the same place, in the order of `a`; null where one is alone. */
export function aligned(a, b) {
  const boxes = b.map((line) => box(line.bbox));
  const free = new Set(b.keys());
  const partners = a.map((line) => {
    const own = box(line.bbox);
    const best = [...free].reduce(
      (found, index) => {
        const share = shared(own, boxes[index]);
        return share > found.share ? { index, share } : found;
      },
      { index: null, share: SAME },
    );
    free.delete(best.index);
    return best.index;
  });
  const pairs = [];
  let next = 0;
  const aloneBefore = (end) => {
    for (; next < end; next++) if (free.has(next)) pairs.push([null, next]);
  };
  partners.forEach((partner, index) => {
    if (partner !== null) aloneBefore(partner);
    pairs.push([index, partner]);
  });
  aloneBefore(b.length);
  return pairs;
}

/** The two texts in pieces: `[text, is it in this one only]`, by a longest common subsequence of their characters. */
export function differences(a, b) {
  const [x, y] = [[...a], [...b]];
  const lengths = Array.from({ length: x.length + 1 }, () => new Uint16Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      lengths[i][j] = x[i] === y[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const pieces = [[], []];
  const add = (side, character, alone) => {
    const last = pieces[side].at(-1);
    if (last?.[1] === alone) last[0] += character;
    else pieces[side].push([character, alone]);
  };
  let [i, j] = [0, 0];
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      add(0, x[i++], false);
      add(1, y[j++], false);
    } else if (j === y.length || (i < x.length && lengths[i + 1][j] >= lengths[i][j + 1])) {
      add(0, x[i++], true);
    } else {
      add(1, y[j++], true);
    }
  }
  return pieces;
}

function box(quad) {
  const [xs, ys] = [quad.map(([x]) => x), quad.map(([, y]) => y)];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

function shared(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  return (width * height) / Math.min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]));
}
