// A tab in which a vision-language model writes about the page that is shown.

import { onLanguage, percent, seconds, t } from "./i18n.js";
import { HUES, elementsOf, quadOf } from "./layout.js";
import { dots, internvl } from "./server.js";
import { formula, markdown } from "./written.js";

// Milliseconds between two drawings of what has been written.
const PACE = 120;

class Writer {
  /** `page()` gives the page that `stage` shows; `onChange()` is called when there is more. */
  constructor(panel, { page, stage, onChange, onPoint, onSelect }) {
    this._panel = panel;
    this._form = panel.querySelector("form");
    this._summary = panel.querySelector(".summary");
    this._written = panel.querySelector(".written");
    this._page = page;
    this._stage = stage;
    this._onChange = onChange;
    this._shown = null;
    this._pending = null;
    this._form.addEventListener("submit", (event) => {
      event.preventDefault();
      this._run();
    });
    this._form.source.addEventListener("change", () => this.draw());
    const itemOf = (event) => {
      const element = event.target.closest?.("[data-item]");
      return element ? Number(element.dataset.item) : null;
    };
    this._written.addEventListener("pointerover", (event) => onPoint(itemOf(event)));
    this._written.addEventListener("pointerleave", () => onPoint(null));
    this._written.addEventListener("focusin", (event) => onPoint(itemOf(event)));
    this._written.addEventListener("click", (event) => {
      if (itemOf(event) !== null && getSelection().isCollapsed) onSelect(itemOf(event));
    });
    onLanguage(() => this._say());
  }

  /** Show what was written about the page that is shown now. */
  turn() {
    this._shown = this._page()?.answers[this._panel.id] ?? null;
    this.draw();
  }

  mark(pointed, selected) {
    for (const element of this._written.querySelectorAll("[data-item]")) {
      element.classList.toggle("is-pointed", pointed.includes(Number(element.dataset.item)));
      element.classList.toggle("is-selected", selected.includes(Number(element.dataset.item)));
    }
  }

  reveal(item) {
    this._written.querySelector(`[data-item="${item}"]`)?.scrollIntoView({ block: "nearest" });
  }

  /** What to show on the picture. */
  get items() {
    return [];
  }

  get text() {
    return this._shown?.text ?? "";
  }

  async draw() {
    this._say();
    const answer = this._shown;
    const content = answer && (this._form.source.checked ? source(answer.text) : await this._content(answer.text));
    // Meanwhile there may be another page, or more of it.
    if (answer === this._shown) this._written.replaceChildren(...(content ? [content] : []));
    this._onChange();
  }

  async _run() {
    const page = this._page();
    if (!page?.blob) {
      this._summary.textContent = t("noPageYet");
      return;
    }
    page.answers[this._panel.id]?.stop();
    const controller = new AbortController();
    const answer = { text: "", start: performance.now(), end: null, last: {}, error: null, stop: () => controller.abort() };
    page.answers[this._panel.id] = this._shown = answer;
    this._written.setAttribute("aria-busy", "true");
    this.draw();
    try {
      for await (const line of this._ask(page.blob, controller.signal)) {
        answer.text += line.text;
        answer.last = line;
        this._drawSoon(answer);
      }
      if (!answer.last.done) answer.error = t("cut");
    } catch (error) {
      if (error.name !== "AbortError") answer.error = error.message;
    }
    answer.end = performance.now();
    this._written.removeAttribute("aria-busy");
    this._drawSoon(answer);
  }

  _drawSoon(answer) {
    if (answer !== this._shown) return;
    this._pending ??= setTimeout(() => {
      this._pending = null;
      this.draw();
    }, PACE);
  }

  _say() {
    this._summary.textContent = this._shown ? inWords(this._shown) : "";
    this._summary.classList.toggle("is-error", Boolean(this._shown?.error));
  }
}

function inWords(answer) {
  if (answer.error) return answer.error;
  if (answer.end === null) return t("writing");
  const { confidence, truncated, repaired } = answer.last;
  const took = { seconds: seconds((answer.end - answer.start) / 1000) };
  const done = confidence === undefined ? t("written", took) : t("writtenSure", { ...took, percent: percent(confidence) });
  return [done, truncated && t("truncated"), repaired && t("repaired")].filter(Boolean).join(" · ");
}

function source(text) {
  const element = document.createElement("pre");
  element.textContent = text;
  return element;
}

/** InternVL answers a question about the page in Markdown. */
export class Internvl extends Writer {
  constructor(panel, services) {
    super(panel, services);
    onLanguage(() => {
      // Unless the visitor has a question of their own.
      if (!this._form.prompt.value || this._form.prompt.value === this._default) {
        this._form.prompt.value = t("defaultQuestion");
      }
      this._default = t("defaultQuestion");
    });
  }

  _ask(picture, signal) {
    return internvl(picture, this._form.prompt.value.trim() || t("defaultQuestion"), signal);
  }

  _content(text) {
    return markdown(text);
  }
}

/** dots.ocr gives the layout of the page, or its text. */
export class Dots extends Writer {
  _ask(picture, signal) {
    this._shown.isLayout = this._form.prompt_type.value !== "prompt_ocr";
    return dots(picture, this._form.prompt_type.value, signal);
  }

  get _elements() {
    return (this._shown?.isLayout && elementsOf(this._shown.text)) || [];
  }

  get items() {
    return this._elements.map((element) => ({
      quad: quadOf(element, this._stage.scale),
      text: "",
      label: [element.category, element.text].filter(Boolean).join(": "),
      note: element.category ?? "",
      tone: "category",
      hue: HUES[element.category] ?? 0,
    }));
  }

  async _content(text) {
    const elements = this._shown.isLayout ? elementsOf(text) : null;
    if (!elements) return markdown(text);
    const fragment = document.createDocumentFragment();
    for (const [index, element] of elements.entries()) {
      const block = document.createElement("article");
      block.className = "element";
      block.dataset.item = index;
      block.tabIndex = 0;
      block.style.setProperty("--hue", HUES[element.category] ?? 0);
      const name = document.createElement("small");
      name.textContent = element.category ?? "";
      block.append(name, await this._shownElement(element));
      fragment.append(block);
    }
    return fragment;
  }

  _shownElement({ category, text, bbox }) {
    if (category === "Picture" && Array.isArray(bbox)) return this._stage.crop(bbox);
    if (!text) return "";
    return category === "Formula" ? formula(text) : markdown(text);
  }
}
