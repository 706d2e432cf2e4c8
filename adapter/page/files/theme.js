// Before anything is drawn: the theme that the visitor chose here, if any; else the system's.
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden.
}
