// The page's language: the visitor's choice, else the browser's.

import { STRINGS } from "./strings.js";
import { recall, remember } from "./storage.js";

const listeners = [];
let language = recall("language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

/** What the page says under that name. */
export function t(name, values = {}) {
  const text = STRINGS[language][name];
  return typeof text === "function" ? text(values) : text;
}

/** A confidence from 0 to 1 in per cent, cut and not rounded: what is not certain is not to read as 100. */
export function percent(confidence) {
  return Math.floor(confidence * 100);
}

/** Seconds, as precise as they matter. */
export function seconds(value) {
  return value.toLocaleString(language, { maximumFractionDigits: value < 10 ? 2 : 0 });
}

/** Have `listener` called now and whenever the language changes. */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

export function toggleLanguage() {
  language = language === "en" ? "zh" : "en";
  remember("language", language);
  listeners.forEach((listener) => listener());
}

/** Write the texts of all elements that name theirs. */
function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
    if (element.matches("button")) element.title = t(element.dataset.tLabel);
  }
  for (const element of document.querySelectorAll("[data-t-title]")) {
    element.title = t(element.dataset.tTitle);
    element.setAttribute("aria-label", t(element.dataset.tTitle));
  }
}

onLanguage(translate);
