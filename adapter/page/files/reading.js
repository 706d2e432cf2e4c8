// One reading of a file: its pages, as they come.

import { t } from "./i18n.js";
import { read } from "./server.js";

export class Reading {
  /** `onChange` is called whenever something has come, and at the end. */
  constructor(file, options, onChange) {
    this.file = file;
    this.profile = options.profile;
    this.total = 0;
    this.isPdf = false;
    /** What the server said of each page, from the first; `picture` is a Blob where the server sent one. */
    this.pages = [];
    this.error = null;
    this.isDone = false;
    this.wasStopped = false;
    this._options = options;
    this._onChange = onChange;
    this._controller = new AbortController();
  }

  async run() {
    try {
      for await (const entry of read(this.file, this._options, this._controller.signal)) {
        if (entry.type) {
          this.isPdf = entry.type === "pdf";
          this.total = entry.pages;
        } else {
          this.pages.push({ ...entry, picture: entry.picture && jpeg(entry.picture) });
        }
        this._onChange();
      }
      if (this.pages.length < this.total) {
        this.error = t("incomplete", { done: this.pages.length, total: this.total });
      }
    } catch (error) {
      if (error.name === "AbortError") this.wasStopped = true;
      else this.error = error.message;
    }
    this.isDone = true;
    this._onChange();
  }

  stop() {
    this._controller.abort();
  }

  get lineCount() {
    return this.pages.reduce((sum, page) => sum + page.lines.length, 0);
  }

  /** All text that has been read; an empty line between pages. */
  get text() {
    return this.pages.map((page) => page.text ?? page.lines.map((line) => line.text).join("\n")).join("\n\n");
  }

  /** The pages as JSON is to have them. */
  get data() {
    return this.pages.map(({ picture, ...page }) => page);
  }
}

function jpeg(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: "image/jpeg" });
}
