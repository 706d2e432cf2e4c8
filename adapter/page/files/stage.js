// The picture, and over it what was found on it: quads that can be pointed at, and the text in place.

const SVG = "http://www.w3.org/2000/svg";
const ZOOMS = [1, 1.5, 2, 3, 4, 6];
// A quad so much higher than wide holds a line that runs downwards.
const DOWNWARDS = 1.5;
// Of the height of a quad.
const TEXT_HEIGHT = 0.74;
const BASE_LINE = 0.22;
// Where the halves of the page stand one above the other, as style.css has it, the stage is as high as its picture.
const NARROW = matchMedia("(max-width: 56rem)");
const OF_WINDOW = 0.6;

export class Stage {
  /** `onPoint(index or null)`, `onSelect(index)`: what the visitor does to an item; `onLoad()`: a picture is there. */
  constructor(root, tip, { onPoint, onSelect, onLoad }) {
    this._root = root;
    this._sheet = root.querySelector(".sheet");
    this._picture = root.querySelector(".turned");
    this._image = root.querySelector("img");
    this._svg = root.querySelector("svg");
    this._waiting = root.querySelector(".waiting");
    this._tip = tip;
    this._onPoint = onPoint;
    this._onSelect = onSelect;
    this._zoom = 0;
    this._probe = null;
    this._angle = 0;
    this._size = null;
    this._items = [];
    this._polygons = [];
    this._svg.addEventListener("pointerover", (event) => this._onPoint(indexOf(event.target)));
    this._svg.addEventListener("pointerleave", () => this._onPoint(null));
    this._svg.addEventListener("click", (event) => {
      const index = indexOf(event.target);
      if (index !== null) this._onSelect(index);
    });
    this._svg.addEventListener("focusin", (event) => this._onPoint(indexOf(event.target)));
    this._svg.addEventListener("focusout", () => this._onPoint(null));
    this._svg.addEventListener("keydown", (event) => this._key(event));
    this._image.addEventListener("load", onLoad);
    root.addEventListener("scroll", () => this._hideTip(), { passive: true });
    window.addEventListener("scroll", () => this._hideTip(), { passive: true });
    new ResizeObserver(() => this._fit()).observe(root);
  }

  /**
   * Show a picture (a URL) of that size, or without one only `waiting`, in words. A page that is turned clockwise by
   * `angle`, a multiple of 90 degrees, is shown upright.
   */
  show(url, width, height, { waiting = "", angle = 0 } = {}) {
    this._probe = null;
    this._angle = angle;
    this._waiting.textContent = waiting;
    this._waiting.hidden = !waiting;
    this._sheet.hidden = !url && !width;
    this._sheet.classList.toggle("is-waiting", Boolean(url && waiting));
    if (url) {
      if (this._image.getAttribute("src") !== url) this._image.src = url;
    } else {
      this._image.removeAttribute("src");
    }
    this._image.hidden = !url;
    if (width) this._setSize(width, height);
  }

  /** Show a picture whose size is not known yet, if the browser can, unless another is shown first. */
  async showUnmeasured(url, waiting) {
    const probe = new Image();
    this.show(null, 0, 0, { waiting });
    this._probe = probe;
    probe.src = url;
    // What it cannot show, the server does.
    const isShown = await probe.decode().then(() => true, () => false);
    if (isShown && this._probe === probe) this.show(url, probe.naturalWidth, probe.naturalHeight, { waiting });
  }

  /**
   * The items to point at: `quad` in pixels of the picture, or null; `text`, which can be shown in its place; `note` on
   * it; `label`, both in words; `tone`, and the `hue` of a category.
   */
  setItems(items) {
    this._hideTip();
    this._items = items;
    this._polygons = items.map((item, index) => {
      const polygon = document.createElementNS(SVG, "polygon");
      polygon.setAttribute("points", (item.quad ?? []).map((point) => point.join()).join(" "));
      polygon.setAttribute("class", `quad ${item.tone}`);
      if (item.hue !== undefined) polygon.style.setProperty("--hue", item.hue);
      polygon.setAttribute("role", "button");
      polygon.setAttribute("aria-label", item.label);
      polygon.setAttribute("tabindex", index ? "-1" : "0");
      polygon.dataset.index = index;
      return polygon;
    });
    this._drawAll();
  }

  /** Mark items as pointed at, and as selected; the first that is pointed at tells its text. */
  mark(pointed, selected) {
    this._polygons.forEach((polygon, index) => {
      polygon.classList.toggle("is-pointed", pointed.includes(index));
      polygon.classList.toggle("is-selected", selected.includes(index));
    });
    if (pointed.length) this._showTip(pointed[0]);
    else this._hideTip();
  }

  reveal(index) {
    this._polygons[index]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  showTexts(shown) {
    this._svg.classList.toggle("with-texts", shown);
    this._drawAll();
  }

  zoom(step) {
    this._zoom = Math.min(Math.max(this._zoom + step, 0), ZOOMS.length - 1);
    this._fit();
    return { isSmallest: this._zoom === 0, isLargest: this._zoom === ZOOMS.length - 1 };
  }

  /** Pixels of the page to one of the picture that is shown: the server makes large pages smaller. */
  get scale() {
    return this._size && this._image.naturalWidth ? this._size[0] / this._image.naturalWidth : 1;
  }

  /** The part of the picture within a box (x0, y0, x1, y1 in its own pixels), as a canvas. */
  crop([x0, y0, x1, y1]) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.max(1, x1 - x0), Math.max(1, y1 - y0)];
    canvas.getContext("2d").drawImage(this._image, -x0, -y0);
    return canvas;
  }

  _drawAll() {
    const isShown = this._svg.classList.contains("with-texts");
    this._svg.replaceChildren(...this._polygons, ...(isShown ? [this._texts()] : []));
  }

  _setSize(width, height) {
    this._size = [width, height];
    this._svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this._fit();
  }

  _fit() {
    if (!this._size) return;
    const lies = this._angle % 180 !== 0;
    const [width, height] = lies ? this._size.toReversed() : this._size;
    const style = getComputedStyle(this._root);
    const room = [
      this._root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
      (NARROW.matches ? OF_WINDOW * innerHeight : this._root.clientHeight) -
        parseFloat(style.paddingTop) -
        parseFloat(style.paddingBottom),
    ];
    const shown = Math.min(room[0], (room[1] * width) / height) * ZOOMS[this._zoom];
    const size = [`${shown}px`, `${(shown * height) / width}px`];
    [this._sheet.style.width, this._sheet.style.height] = size;
    [this._picture.style.width, this._picture.style.height] = lies ? size.toReversed() : size;
    this._picture.style.transform = `translate(-50%, -50%) rotate(${-this._angle}deg)`;
  }

  _texts() {
    const group = document.createElementNS(SVG, "g");
    group.setAttribute("class", "texts");
    group.setAttribute("aria-hidden", "true");
    for (const { quad, text } of this._items.filter((item) => item.text)) {
      let [p0, p1, , p3] = quad;
      if (distance(p0, p3) > DOWNWARDS * distance(p0, p1)) [p0, p1, p3] = [quad[1], quad[2], quad[0]];
      const [width, height] = [distance(p0, p1), distance(p0, p3)];
      const along = [(p1[0] - p0[0]) / width, (p1[1] - p0[1]) / width];
      const down = [(p3[0] - p0[0]) / height, (p3[1] - p0[1]) / height];
      const element = document.createElementNS(SVG, "text");
      element.setAttribute("transform", `matrix(${[...along, ...down, ...p0].join()})`);
      element.setAttribute("y", height * (1 - BASE_LINE));
      element.setAttribute("font-size", height * TEXT_HEIGHT);
      element.setAttribute("textLength", width);
      element.setAttribute("lengthAdjust", "spacingAndGlyphs");
      element.textContent = text;
      group.append(element);
    }
    return group;
  }

  _key(event) {
    const index = indexOf(event.target);
    if (index === null) return;
    const last = this._polygons.length - 1;
    const to = {
      ArrowDown: Math.min(index + 1, last),
      ArrowRight: Math.min(index + 1, last),
      ArrowUp: Math.max(index - 1, 0),
      ArrowLeft: Math.max(index - 1, 0),
      Home: 0,
      End: last,
    }[event.key];
    if (to !== undefined) {
      this._polygons.forEach((polygon, at) => polygon.setAttribute("tabindex", at === to ? "0" : "-1"));
      this._polygons[to].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      this._onSelect(index);
    } else {
      return;
    }
    event.preventDefault();
  }

  _showTip(index) {
    const item = this._items[index];
    const polygon = this._polygons[index].getBoundingClientRect();
    const stage = this._root.getBoundingClientRect();
    // What lies outside of the visible part is not pointed at with a finger in the air.
    const outside = polygon.bottom < stage.top || polygon.top > Math.min(stage.bottom, innerHeight);
    this._tip.hidden = outside;
    if (outside) return;
    const note = document.createElement("small");
    note.textContent = item.note;
    this._tip.replaceChildren(item.text, item.text && " ", note);
    const { offsetWidth, offsetHeight } = this._tip;
    const below = polygon.bottom + 6 + offsetHeight < innerHeight;
    this._tip.style.left = `${Math.max(8, Math.min(polygon.left, innerWidth - offsetWidth - 8))}px`;
    this._tip.style.top = `${below ? polygon.bottom + 6 : polygon.top - offsetHeight - 6}px`;
  }

  _hideTip() {
    this._tip.hidden = true;
  }
}

function indexOf(element) {
  const index = element.dataset?.index;
  return index === undefined ? null : Number(index);
}

function distance([x0, y0], [x1, y1]) {
  return Math.max(Math.hypot(x1 - x0, y1 - y0), 1e-6);
}
