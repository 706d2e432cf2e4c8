// Cells of text that can be pointed at, selected and walked through by the arrow keys: one tab stop, as in any list.

export class Cells {
  /** Below `root`, each element with `data-item` is a cell for the item of that index. */
  constructor(root, { onPoint, onSelect }) {
    this._root = root;
    this._cells = [];
    const itemOf = (event) => {
      const cell = event.target.closest?.("[data-item]");
      return cell ? Number(cell.dataset.item) : null;
    };
    root.addEventListener("pointerover", (event) => onPoint(itemOf(event)));
    root.addEventListener("pointerleave", () => onPoint(null));
    root.addEventListener("focusin", (event) => onPoint(itemOf(event)));
    root.addEventListener("focusout", () => onPoint(null));
    root.addEventListener("click", (event) => {
      // Who selects characters to copy them does not select a line.
      if (itemOf(event) !== null && getSelection().isCollapsed) onSelect(itemOf(event));
    });
    root.addEventListener("keydown", (event) => {
      const cell = event.target.closest("[data-item]");
      if (!cell) return;
      if (event.key === "Enter" || event.key === " ") onSelect(itemOf(event));
      else if (!this._walk(cell, event.key)) return;
      event.preventDefault();
    });
  }

  /** Put `content` below the root: what has `data-item`, in order, becomes the cells. */
  set(content) {
    this._root.replaceChildren(content);
    this._cells = [...this._root.querySelectorAll("[data-item]")];
    this._cells.forEach((cell, index) => (cell.tabIndex = index ? -1 : 0));
  }

  mark(pointed, selected) {
    for (const cell of this._cells) {
      const item = Number(cell.dataset.item);
      cell.classList.toggle("is-pointed", pointed.includes(item));
      cell.classList.toggle("is-selected", selected.includes(item));
      cell.setAttribute("aria-selected", selected.includes(item));
    }
  }

  reveal(item) {
    this._cells.find((cell) => Number(cell.dataset.item) === item)?.scrollIntoView({ block: "nearest" });
  }

  _walk(from, key) {
    const columns = from.parentElement.matches("tr") ? [...from.parentElement.children] : null;
    const index = this._cells.indexOf(from);
    const rows = columns && [...from.closest("tbody").rows];
    const column = columns?.indexOf(from);
    const within = (row) => row && this._cells.includes(row.cells[column]) && row.cells[column];
    const along = (step) => {
      if (!rows) return this._cells[index + step];
      for (let at = rows.indexOf(from.parentElement) + step; rows[at]; at += step) {
        if (within(rows[at])) return rows[at].cells[column];
      }
    };
    const to = {
      ArrowDown: () => along(1),
      ArrowUp: () => along(-1),
      ArrowRight: () => columns?.[column + 1],
      ArrowLeft: () => columns?.[column - 1],
      Home: () => this._cells[0],
      End: () => this._cells.at(-1),
    }[key]?.();
    if (!to || !this._cells.includes(to)) return false;
    this._cells.forEach((cell) => (cell.tabIndex = cell === to ? 0 : -1));
    to.focus();
    return true;
  }
}
