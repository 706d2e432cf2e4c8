// What a model wrote, shown as it is meant: Markdown, tables, formulas. Nothing in it is trusted.

// What $…$ and \(…\) hold, where they may begin, and what $$…$$ and \[…\] hold.
const INLINE = /^(?:\$(?![\s$])((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)|\\\((.+?)\\\))/;
const BEGINNING = /\$|\\\(/;
const BLOCK = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])/;

const FORBIDDEN = ["style", "form", "input", "button", "select", "textarea", "img", "picture", "audio", "video", "svg"];

let tools;

/** A fragment that shows Markdown, in which there may be HTML tables and LaTeX. */
export async function markdown(text) {
  const { parse, purify, katex } = await loaded();
  const fragment = purify.sanitize(parse(text), {
    RETURN_DOM_FRAGMENT: true,
    USE_PROFILES: { html: true },
    FORBID_TAGS: FORBIDDEN,
    FORBID_ATTR: ["style", "class", "id", "name"],
  });
  fragment.querySelectorAll("td, th").forEach(markFormulas);
  for (const element of fragment.querySelectorAll("[data-formula]")) {
    set(katex, element.textContent, element, element.dataset.formula === "block");
  }
  for (const link of fragment.querySelectorAll("a")) {
    link.rel = "noopener noreferrer";
    link.target = "_blank";
  }
  return fragment;
}

/** Formulas in a cell of an HTML table, in which Markdown sees none. */
function markFormulas(cell) {
  for (const node of [...cell.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE)) {
    const pieces = [];
    let rest = node.data;
    for (let at = rest.search(BEGINNING); at >= 0; at = rest.search(BEGINNING)) {
      const found = INLINE.exec(rest.slice(at));
      if (!found) break;
      const element = document.createElement("span");
      element.dataset.formula = "inline";
      element.textContent = found[1] ?? found[2];
      pieces.push(rest.slice(0, at), element);
      rest = rest.slice(at + found[0].length);
    }
    if (pieces.length) node.replaceWith(...pieces, rest);
  }
}

/** A fragment that shows one formula in LaTeX, with `$$` around it or without. */
export async function formula(text) {
  const { katex } = await loaded();
  const element = document.createElement("div");
  element.className = "formula";
  set(katex, text.trim().replace(/^(\$\$?|\\\[)([\s\S]*?)(\$\$?|\\\])$/, "$2"), element, true);
  return element;
}

function set(katex, latex, element, displayMode) {
  katex.render(latex, element, { displayMode, throwOnError: false, strict: false, maxSize: 50, maxExpand: 1000 });
}

function loaded() {
  tools ??= load();
  return tools;
}

async function load() {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("vendor/katex/katex.min.css", import.meta.url);
  document.head.append(style);
  const [{ Marked }] = await Promise.all([
    import("./vendor/marked/marked.esm.js"),
    // These two leave a global behind.
    import("./vendor/dompurify/purify.min.js"),
    import("./vendor/katex/katex.min.js"),
  ]);
  const extensions = [math("block", BLOCK, /\$\$|\\\[/), math("inline", INLINE, BEGINNING)];
  const marked = new Marked({ gfm: true, breaks: true }, { extensions });
  return { parse: (text) => marked.parse(text), purify: window.DOMPurify, katex: window.katex };
}

/** `beginning` is where a formula may begin: there a paragraph or a text is interrupted. */
function math(level, pattern, beginning) {
  return {
    name: `formula-${level}`,
    level,
    start: (text) => text.match(beginning)?.index,
    tokenizer(text) {
      const found = pattern.exec(text);
      if (found) return { type: `formula-${level}`, raw: found[0], latex: found[1] ?? found[2] };
    },
    renderer: ({ latex }) => `<span data-formula="${level}">${escaped(latex)}</span>`,
  };
}

function escaped(text) {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
