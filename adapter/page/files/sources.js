// Where a file comes from: dropped, pasted, chosen, or a photo that is taken.

import { t } from "./i18n.js";

const EXAMPLE = "page/example.png";

/** Have `onFile(file)` called for each file that the visitor brings, and `onFault(words)` where there is none. */
export function watchSources({ onFile, onFault }) {
  const choose = document.querySelector("#file");
  const capture = document.querySelector("#capture");
  for (const input of [choose, capture]) {
    input.addEventListener("change", () => {
      if (input.files.length) onFile(input.files[0]);
      // The same file may be chosen again.
      input.value = "";
    });
  }
  document.querySelector("#photo").addEventListener("click", () => {
    if (hasWebcam()) photograph(onFile, onFault);
    else capture.click();
  });
  document.querySelector("#example").addEventListener("click", async () => {
    try {
      onFile(new File([await (await fetch(EXAMPLE)).blob()], "example.png", { type: "image/png" }));
    } catch {
      onFault(t("unreachable"));
    }
  });
  watchDrops(onFile, onFault);
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, textarea") && !event.clipboardData.files.length) return;
    take(event.clipboardData.files, onFile, onFault);
  });
}

function watchDrops(onFile, onFault) {
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("is-dragged-over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => {
    if (event.dataTransfer.types.includes("Files")) mark(1);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.dataTransfer.types.includes("Files")) mark(-1);
  });
  // Without it, a drop opens the file in the page's stead.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    take(event.dataTransfer.files, onFile, onFault);
  });
}

function take(files, onFile, onFault) {
  const [first] = files;
  if (!first) {
    onFault(t("noFile"));
    return;
  }
  onFile(first);
  if (files.length > 1) onFault(t("severalFiles", { name: first.name }));
}

/** Phones take photos with an app of their own, which does it better. */
function hasWebcam() {
  return Boolean(navigator.mediaDevices?.getUserMedia) && matchMedia("(pointer: fine)").matches;
}

async function photograph(onFile, onFault) {
  const dialog = document.querySelector("#camera");
  const video = dialog.querySelector("video");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, height: { ideal: 1080 } } });
  } catch (error) {
    onFault(t("noCamera", { reason: error.message }));
    return;
  }
  // Before its first picture there is nothing to take.
  const shoot = dialog.querySelector("[value=shoot]");
  shoot.disabled = true;
  video.addEventListener("loadeddata", () => (shoot.disabled = false), { once: true });
  video.srcObject = stream;
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener(
    "close",
    async () => {
      if (dialog.returnValue === "shoot") onFile(await still(video));
      stream.getTracks().forEach((track) => track.stop());
      video.srcObject = null;
    },
    { once: true },
  );
}

async function still(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([blob], "photo.jpg", { type: "image/jpeg" });
}
