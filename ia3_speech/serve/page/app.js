/* The start of the page: its language, and the section that is shown. */

import { $, chooseLanguage, loadTexts, make, refresh, state } from "./common.js";
import { startTry } from "./try.js";
import { startDictating } from "./dictate.js";
import { readFor, startReading } from "./reading.js";
import { startVoices } from "./voices.js";

const SECTIONS = ["try", "dictate", "make", "voices"];
const WITHOUT_TRAINING = ["try", "dictate"];

function showSection() {
  const wanted = location.hash.slice(1);
  const shown = SECTIONS.includes(wanted) && (state.training || WITHOUT_TRAINING.includes(wanted)) ? wanted : "try";
  for (const id of SECTIONS) $(id).hidden = id !== shown;
  for (const link of document.querySelectorAll("nav a")) link.ariaCurrent = link.hash === `#${shown}` ? "page" : null;
}

async function start() {
  const languages = Object.entries(await loadTexts());
  $("language").append(
    ...languages.map(([value, name]) => make("option", { value, textContent: name, lang: value })));
  $("language").value = chooseLanguage(localStorage.getItem("language") ?? navigator.language.slice(0, 2));
  $("language").onchange = () => {
    chooseLanguage($("language").value);
    document.dispatchEvent(new Event("refreshed"));
  };
  $("sign-out").hidden = !sessionStorage.getItem("key");
  $("sign-out").onclick = () => {
    sessionStorage.removeItem("key");
    location.reload(); // no text stays on the page; autocomplete=off, since Firefox restores fields
  };
  document.addEventListener("refreshed", () => {
    for (const element of document.querySelectorAll("[data-training]")) element.hidden = !state.training;
    $("base").textContent = state.base;
    showSection();
  });
  addEventListener("hashchange", () => {
    for (const button of document.querySelectorAll("[data-recording=true]")) button.click(); // ends the recording
    showSection();
    $("main").focus();
  });
  startTry();
  startDictating();
  startReading();
  startVoices(readFor);
  await refresh();
  document.body.dataset.ready = "true";
}

start().catch((error) => $("main").prepend(make("p", { className: "fault", textContent: error.message })));
