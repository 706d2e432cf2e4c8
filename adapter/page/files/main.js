// The page: what the visitor brings is read, shown, and given back.

import { aligned, differences } from "./compare.js";
import { copy, renamed, save } from "./exports.js";
import { onLanguage, percent, seconds, t, toggleLanguage } from "./i18n.js";
import { Cells } from "./list.js";
import { HUES } from "./layout.js";
import { Reading } from "./reading.js";
import { models, searchablePdf } from "./server.js";
import { watchSources } from "./sources.js";
import { Stage } from "./stage.js";
import { remember } from "./storage.js";
import { Dots, Internvl } from "./writer.js";

// A line of a lower confidence is worth a second look.
const SURE = 0.9;
// Milliseconds without a further change of the options, before the file is read again.
const PATIENCE = 350;
// Milliseconds until a server that does not answer is asked again.
const RETRY = 2000;

const $ = (selector) => document.querySelector(selector);
const element = (name, className, ...content) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
};

/** What is being looked at: the file, its one or two readings, the page from 1, and where the visitor points. */
const view = { file: null, url: null, readings: [], pages: new Map(), page: 1, pointed: null, selected: null, tab: "text" };
let choice = null;
let drawn = [];

const stage = new Stage($("#stage"), $("#tip"), {
  onPoint: point,
  onSelect: select,
  // What a model wrote about it is in its pixels.
  onLoad: () => writers[view.tab]?.draw(),
});
const cells = new Cells($("#lines"), { onPoint: point, onSelect: (item) => select(item, true) });
const services = {
  page: shownPage,
  stage,
  onChange: drawItems,
  onPoint: point,
  onSelect: (item) => select(item, true),
};
const writers = { dots: new Dots($("#panel-dots"), services), internvl: new Internvl($("#panel-internvl"), services) };

// ---- Reading

function open(file) {
  fault("");
  if (view.url) URL.revokeObjectURL(view.url);
  forgetPages();
  Object.assign(view, { file, url: URL.createObjectURL(file), page: 1 });
  document.body.dataset.state = "work";
  $("#work").hidden = false;
  $("#file-name").hidden = false;
  $("#file-name").textContent = file.name;
  readAgain();
  selectTab("text");
}

function readAgain() {
  if (!view.file) return;
  view.readings.forEach((reading) => reading.stop());
  Object.assign(view, { pointed: null, selected: null });
  fault("");
  const options = chosenOptions();
  const profiles = [$("#profile").value, $("#compare").value].filter((profile, index) => !index || profile);
  view.readings = profiles.map((profile, index) => {
    // The first brings the pictures for both.
    const all = { ...options, profile: profile || null, pictures: index === 0 };
    const reading = new Reading(view.file, all, () => changed(reading));
    return reading;
  });
  view.readings.forEach((reading) => reading.run());
  say(t("reading", { name: view.file.name }));
  drawPage();
}

function changed(reading) {
  if (!view.readings.includes(reading)) return;
  if (reading.error) fault(reading.error);
  if (reading.isDone && !reading.error && !reading.wasStopped && reading === view.readings[0]) {
    say(t("done", { lines: reading.lineCount, pages: reading.pages.length }));
  }
  drawProgress();
  const latest = reading.pages.length;
  // Only what is looked at is drawn: many pages may come.
  if (latest === view.page || reading.isDone || !latest) drawPage();
}

function chosenOptions() {
  const form = $("#options");
  const options = {};
  for (const check of form.querySelectorAll("[type=checkbox]")) options[check.name] = check.checked;
  for (const range of form.querySelectorAll("[type=range]")) {
    if (range.dataset.chosen) options[range.name] = range.value;
  }
  return options;
}

/** The page that is shown: its picture, and what models have written about it; null while there is none. */
function shownPage() {
  return view.pages.get(view.page) ?? null;
}

/** Remember the page's picture: the server's, or the file itself where the browser shows it. */
function rememberPage(read) {
  const known = view.pages.get(view.page);
  // A PDF's pages are the server's to paint.
  if (!read && isPdf()) return known;
  if (known && !(read?.picture && known.blob === view.file)) return known;
  const blob = read?.picture ?? view.file;
  const page = { blob, url: read?.picture ? URL.createObjectURL(blob) : view.url, answers: known?.answers ?? {} };
  view.pages.set(view.page, page);
  return page;
}

function isPdf() {
  return view.readings[0]?.isPdf || view.file.type === "application/pdf";
}

function forgetPages() {
  for (const page of view.pages.values()) {
    Object.values(page.answers).forEach((answer) => answer.stop());
    if (page.url !== view.url) URL.revokeObjectURL(page.url);
  }
  view.pages.clear();
}

// ---- Drawing

/** Draw what there is of the page, unless just that is drawn: who is at a line is not to be thrown off it. */
function drawPage() {
  const [reading] = view.readings;
  if (!reading) return;
  const reads = readsShown();
  drawProgress();
  $("#summary").replaceChildren(...summary(reads));
  const content = [view.file, view.page, document.documentElement.lang, reading.isDone && !reads[0], ...reads];
  if (content.length === drawn.length && content.every((part, index) => part === drawn[index])) return;
  drawn = content;
  drawPicture(reading, reads[0]);
  if (reads.length === 2) cells.set(reads.every(Boolean) ? comparison(reads) : "");
  else cells.set(reads[0] ? list(reads[0]) : "");
  drawItems();
  writers[view.tab]?.turn();
}

function readsShown() {
  return view.readings.map((reading) => reading.pages[view.page - 1]);
}

function drawPicture(reading, read) {
  const page = rememberPage(read);
  const isWaiting = !read && !reading.isDone;
  const waiting = isWaiting ? t(reading.total > 1 ? "readingPage" : "waitingPicture", { page: view.page }) : "";
  if (read) stage.show(page.url, read.width, read.height, { angle: read.page_angle });
  else if (isPdf()) stage.show(null, 0, 0, { waiting });
  else stage.showUnmeasured(view.url, waiting);
}

function drawProgress() {
  const [reading] = view.readings;
  if (!reading) return;
  const total = reading.total;
  $("#pager").hidden = total < 2;
  $("#page-number").max = Math.max(total, 1);
  if (document.activeElement !== $("#page-number")) $("#page-number").value = view.page;
  $("#page-count").textContent = t("pageCount", { count: total });
  $("#previous").disabled = view.page <= 1;
  $("#next").disabled = view.page >= total;
  const isReading = view.readings.some((one) => !one.isDone);
  const progress = $("#progress");
  progress.hidden = !isReading;
  if (total > 1) [progress.max, progress.value] = [total, reading.pages.length];
  else progress.removeAttribute("value");
  $("#stop").hidden = !isReading;
  for (const name of ["copy", "json", "pdf"]) $(`#${name}`).disabled = !reading.pages.length;
}

function summary(reads) {
  const [reading] = view.readings;
  if (!reading) return [];
  const parts = [];
  const [read] = reads;
  if (reading.total > 1 && (!reading.isDone || reading.wasStopped)) {
    const numbers = { done: reading.pages.length, total: reading.total };
    parts.push(t(reading.wasStopped ? "stopped" : "pagesRead", numbers));
  }
  if (read && view.readings.length === 1) {
    parts.push(read.lines.length ? t("lines", { count: read.lines.length }) : t("noLines"));
    parts.push(read.profile, t("seconds", { seconds: seconds(read.seconds) }));
  } else if (reads.length === 2 && reads.every(Boolean)) {
    parts.push(t("differ", { count: pairsOf(reads).filter((pair) => pair.differs).length }));
  } else if (!reading.isDone) {
    parts.push(t(reading.total > 1 ? "readingPage" : "waitingPicture", { page: view.page }));
  }
  if (read?.more_frames) parts.push(t("moreFrames"));
  return parts.map((part) => element("span", "", part));
}

function list(read) {
  const items = read.lines.map((line, index) => {
    const item = element("li", "line", element("span", "line-text", line.text), confidence(line));
    item.dataset.item = index;
    item.setAttribute("role", "option");
    return item;
  });
  const made = element("ol", "lines", ...items);
  made.setAttribute("role", "listbox");
  made.setAttribute("aria-label", t("text"));
  return made;
}

function confidence(line) {
  const made = element("span", "confidence", t("confidence", { percent: percent(line.confidence) }));
  made.classList.toggle("is-unsure", line.confidence < SURE);
  return made;
}

/** The lines of both readings in pairs. Items count those of the first reading, and then those of the second. */
function pairsOf([a, b]) {
  return aligned(a.lines, b.lines).map(([i, j]) => ({
    items: [i, j === null ? null : a.lines.length + j],
    lines: [i === null ? null : a.lines[i], j === null ? null : b.lines[j]],
    differs: i === null || j === null || a.lines[i].text !== b.lines[j].text,
  }));
}

function comparison(reads) {
  const heads = reads.map((read) => {
    const facts = [t("lines", { count: read.lines.length }), t("seconds", { seconds: seconds(read.seconds) })];
    const head = element("th", "", read.profile, element("small", "", facts.join(" · ")));
    head.scope = "col";
    return head;
  });
  const rows = pairsOf(reads).map(({ items, lines, differs }) => {
    const texts = lines.map((line) => line?.text ?? "");
    const pieces = differs && lines.every(Boolean) ? differences(...texts) : texts.map((text) => [[text, !lines.every(Boolean)]]);
    const row = element("tr", differs ? "differs" : "");
    lines.forEach((line, side) => {
      if (!line) {
        row.append(element("td", "missing", "—"));
        return;
      }
      const marked = pieces[side].map(([text, alone]) => (alone ? element("mark", "", text) : text));
      const cell = element("td", "line", element("span", "line-text", ...marked), confidence(line));
      cell.dataset.item = items[side];
      row.append(cell);
    });
    return row;
  });
  const table = element("table", "comparison", element("thead", "", element("tr", "", ...heads)), element("tbody", "", ...rows));
  table.setAttribute("role", "grid");
  table.setAttribute("aria-label", t("compareWith"));
  return table;
}

function drawItems() {
  const items = itemsShown();
  stage.setItems(items);
  const categories = [...new Set(items.map((item) => (item.tone === "category" ? item.note : null)).filter(Boolean))];
  $("#legend").hidden = !categories.length;
  $("#legend").replaceChildren(
    ...categories.map((category) => {
      const entry = element("li", "", category);
      entry.style.setProperty("--hue", HUES[category] ?? 0);
      return entry;
    }),
  );
  mark();
}

function itemsShown() {
  if (writers[view.tab]) return writers[view.tab].items;
  return view.readings.flatMap((reading, side) =>
    (reading.pages[view.page - 1]?.lines ?? []).map((line) => ({
      quad: line.bbox,
      text: line.text,
      label: t("lineLabel", { text: line.text, percent: percent(line.confidence) }),
      note: t("confidence", { percent: percent(line.confidence) }),
      tone: side ? "second" : line.confidence < SURE ? "unsure" : "sure",
    })),
  );
}

// ---- Pointing

function point(item) {
  if (item === view.pointed) return;
  view.pointed = item;
  mark();
}

function select(item, fromText = false) {
  view.selected = item;
  mark();
  if (fromText) stage.reveal(item);
  else (writers[view.tab] ?? cells).reveal(item);
}

/** The item, and where two readings are compared its partner. */
function together(item) {
  if (item === null) return [];
  const reads = readsShown();
  if (view.tab !== "text" || reads.length < 2 || !reads.every(Boolean)) return [item];
  const pair = pairsOf(reads).find(({ items }) => items.includes(item));
  return pair ? [item, ...pair.items.filter((other) => other !== null && other !== item)] : [item];
}

function mark() {
  const [pointed, selected] = [together(view.pointed), together(view.selected)];
  stage.mark(pointed, selected);
  (writers[view.tab] ?? cells).mark(pointed, selected);
}

// ---- What is said

function say(words) {
  $("#status").textContent = words;
}

function fault(words) {
  $("#alert").textContent = words;
}

// ---- What the visitor does

watchSources({ onFile: open, onFault: fault });

$("#stop").addEventListener("click", () => view.readings.forEach((reading) => reading.stop()));
$("#language").addEventListener("click", toggleLanguage);
$("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
  remember("theme", root.dataset.theme);
});

let timer;
$("#options").addEventListener("input", (event) => {
  if (event.target.type === "range") event.target.dataset.chosen = "true";
  drawRanges();
  clearTimeout(timer);
  timer = setTimeout(readAgain, event.target.type === "range" ? PATIENCE : 0);
});
$("#options").addEventListener("reset", () => {
  for (const range of $("#options").querySelectorAll("[type=range]")) delete range.dataset.chosen;
  // The fields have their values once the event is over.
  setTimeout(() => {
    drawProfiles();
    drawRanges();
    readAgain();
  });
});
$("#options").addEventListener("submit", (event) => event.preventDefault());

function turnTo(page) {
  const total = view.readings[0]?.total ?? 0;
  const to = Math.min(Math.max(Math.round(page) || 1, 1), total);
  if (to === view.page) return;
  Object.assign(view, { page: to, pointed: null, selected: null });
  drawPage();
}

$("#previous").addEventListener("click", () => turnTo(view.page - 1));
$("#next").addEventListener("click", () => turnTo(view.page + 1));
$("#page-number").addEventListener("change", (event) => {
  turnTo(event.target.valueAsNumber);
  event.target.value = view.page;
});
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "PageDown") turnTo(view.page + 1);
  else if (event.key === "PageUp") turnTo(view.page - 1);
  else return;
  if (view.readings[0]?.total > 1) event.preventDefault();
});

function zoom(step) {
  const { isSmallest, isLargest } = stage.zoom(step);
  $("#zoom-out").disabled = isSmallest;
  $("#zoom-in").disabled = isLargest;
}

$("#zoom-in").addEventListener("click", () => zoom(1));
$("#zoom-out").addEventListener("click", () => zoom(-1));
$("#in-place").addEventListener("click", (event) => {
  const pressed = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", pressed);
  stage.showTexts(pressed);
});

$("#copy").addEventListener("click", async () => {
  const [reading] = view.readings;
  const text = writers[view.tab]?.text || reading.text;
  const done = await copy(text);
  say(done ? t("copied", { pages: writers[view.tab]?.text ? 1 : reading.pages.length }) : t("copyFailed"));
  if (!done) fault(t("copyFailed"));
  flash($("#copy"), done);
});
$("#json").addEventListener("click", () => {
  const [reading, other] = view.readings;
  const data = { file: view.file.name, pages: reading.data, ...(other && { compared: other.data }) };
  save(new Blob([JSON.stringify(data, null, 1)], { type: "application/json" }), renamed(view.file.name, ".json"));
});
$("#pdf").addEventListener("click", async () => {
  const [button, { file }] = [$("#pdf"), view];
  button.disabled = true;
  say(t("making"));
  try {
    save(await searchablePdf(file, view.readings[0].data), renamed(file.name, ".searchable.pdf"));
    say("");
  } catch (error) {
    fault(error.message);
  }
  button.disabled = false;
});

function flash(button, done) {
  button.classList.add(done ? "is-done" : "is-failed");
  setTimeout(() => button.classList.remove("is-done", "is-failed"), 1500);
}

// ---- Tabs

const tabs = [...document.querySelectorAll("[role=tab]")];

function selectTab(name) {
  view.tab = name;
  for (const tab of tabs) {
    const isChosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !isChosen;
  }
  Object.assign(view, { pointed: null, selected: null });
  if (writers[name]) writers[name].turn();
  else drawItems();
}

$("#tabs").addEventListener("click", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (tab) selectTab(tab.id.slice("tab-".length));
});
$("#tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const there = tabs.filter((tab) => !tab.hidden);
  const next = there[(there.indexOf(event.target) + step + there.length) % there.length];
  selectTab(next.id.slice("tab-".length));
  next.focus();
});

// ---- What there is to choose from

function drawProfiles() {
  if (!choice) return;
  const [chosen, compared] = [$("#profile").value, $("#compare").value];
  const named = (name) => (name === choice.default_profile ? t("profileDefault", { name }) : name);
  const options = (values) => values.map(([value, text]) => new Option(text, value));
  $("#profile").replaceChildren(...options(choice.profiles.map((name) => [name, named(name)])));
  $("#compare").replaceChildren(...options([["", t("nothing")], ...choice.profiles.map((name) => [name, name])]));
  $("#profile").value = chosen || choice.default_profile;
  $("#compare").value = compared;
}

function drawRanges() {
  for (const range of $("#options").querySelectorAll("[type=range]")) {
    const shown = range.dataset.chosen ? Number(range.value).toFixed(2) : t("byDefault");
    range.nextElementSibling.value = shown;
    range.setAttribute("aria-valuetext", shown);
  }
}

onLanguage(() => {
  $("#language").textContent = t("otherLanguage");
  $("#language").lang = t("otherLanguage") === "English" ? "en" : "zh";
  drawProfiles();
  drawRanges();
  drawPage();
});

async function learn() {
  while (!choice) {
    try {
      choice = await models();
      fault("");
    } catch (error) {
      fault(error.message);
      // Who has no key is not asked for one over and over.
      if (error.status === 401) return;
      // It may be starting.
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
  drawProfiles();
  $("#tab-dots").hidden = !choice.dots;
  $("#tab-internvl").hidden = !choice.internvl;
  $("#tabs").hidden = !choice.dots && !choice.internvl;
}

learn();
