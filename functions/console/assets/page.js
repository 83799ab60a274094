// What a page can do without a script, it does without this one: it only says when figures are old, and reads files into forms.
"use strict";

const live = () => document.getElementById("live");
const stale = (text) => {
  const note = document.getElementById("stale");
  if (note && note.textContent !== text) note.textContent = text;
};

// A refresh would close what somebody has opened, and nobody looks at a hidden page.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target !== live()) return;
  if (document.hidden || live().querySelector("details[open]")) {
    event.preventDefault();
    if (!document.hidden) stale(`Shown as of ${live().dataset.at}: not refreshed while something is open here.`);
  }
});
document.addEventListener("htmx:afterSwap", () => stale(""));
for (const failed of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(failed, () => stale(`Shown as of ${live()?.dataset.at}: the API does not answer.`));
}

// Files chosen for, or dropped on, a field of text.
const read = async (file, field) => {
  const into = document.getElementById(field);
  if (field !== "pkcs12") {
    into.value = await file.text();
    return;
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  into.value = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
};
for (const input of document.querySelectorAll("input[type=file][data-into]")) {
  input.closest(".needs-script").hidden = false;
  input.addEventListener("change", () => input.files[0] && read(input.files[0], input.dataset.into));
}
for (const field of document.querySelectorAll("textarea")) {
  field.addEventListener("dragover", (event) => event.preventDefault());
  field.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0], field.id);
  });
}
