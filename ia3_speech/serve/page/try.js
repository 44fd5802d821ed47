/* Try: speech in, the texts of the base and of an adapter, words on the waveform; and a correction of the text. */

import { $, apiJson, api, form, make, number, pathOf, refresh, run, save, state, t } from "./common.js";
import { RATE, Recorder, decode, draw, play, wavOf } from "./audio.js";

const UNCERTAIN = 0.6; // words of a lower confidence are shaded
const MAX_PAIRS = 4e6; // of words that are compared
const PIXELS = 160; // of the waveform, per second
const recorder = new Recorder();
let speech = null; // { blob, samples, name }
let offered = ""; // the suggested name for a correction
let results = {}; // "base" and "adapter" → verbose_json, model
let recognition = new AbortController(); // the last; `transcribe` begins again when it is aborted

export function startTry() {
  $("record").onclick = () => run($("record"), $("try-status"), toggleRecording);
  $("file").onchange = () => {
    const [file] = $("file").files;
    $("file").value = ""; // so that the same file may be chosen again
    if (file) take(file);
  };
  $("sample").onclick = () => run($("sample"), $("try-status"), async () => {
    const answer = await fetch("page/sample.ogg").catch(() => { throw new Error(t("unreachable")); });
    await take(await answer.blob(), "sample.ogg");
  });
  for (const kind of ["dragover", "drop", "dragleave"])
    $("drop").addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    });
  for (const id of ["first", "second", "first-weight", "second-weight"]) {
    $(id).oninput = showModel;
    $(id).onchange = () => recognition.abort();
  }
  $("transcribe").onclick = () => run($("transcribe"), $("try-status"), transcribe);
  $("play").onclick = () => speech.samples && play(speech.samples);
  $("wave").onkeydown = (event) => event.key === "Enter" && speech.samples && play(speech.samples);
  $("copy").onclick = () => run($("copy"), $("try-status"), () => copy(chosen().text, $("try-status")));
  $("srt").onclick = () => run($("srt"), $("try-status"), async () =>
    save(await (await request(chosen().model, { response_format: "srt" })).blob(), `${stem()}.srt`));
  $("json").onclick = () =>
    save(new Blob([JSON.stringify(chosen(), null, 2)], { type: "application/json" }), `${stem()}.json`);
  $("correct").onsubmit = (event) => {
    event.preventDefault();
    run(event.submitter ?? $("correct"), $("correct-status"), saveCorrection);
  };
  document.addEventListener("refreshed", showAdapters);
}

export async function copy(text, status) {
  if (!navigator.clipboard) throw new Error(t("no_clipboard"));
  await navigator.clipboard.writeText(text);
  status.textContent = t("copied");
}

const chosen = () => results.adapter ?? results.base;
const stem = () => speech.name.replace(/\.[^.]*$/, "");

function showAdapters() {
  for (const [id, none] of [["first", "none"], ["second", "no_second"], ["dictate-voice", "none"]]) {
    const select = $(id);
    const before = select.value;
    const options = state.adapters.map((name) => make("option", { value: name, textContent: name }));
    select.replaceChildren(make("option", { value: "", textContent: t(none) }), ...options);
    select.value = state.adapters.includes(before) ? before : "";
  }
  $("names").replaceChildren(...state.data.map((voice) => make("option", { value: voice.name })));
  showModel();
  if (chosen()) showResults();
}

/** Choose an adapter. */
export function chooseAdapter(name) {
  $("first").value = $("dictate-voice").value = name;
  $("second").value = "";
  showModel();
  recognition.abort();
}

function modelName() {
  const [first, second] = [$("first").value, $("second").value];
  if (!second || second === first) return first;
  if (!first) return second;
  return `${first}:${$("first-weight").value}+${second}:${$("second-weight").value}`;
}

function showModel() {
  $("second").disabled = !$("first").value;
  if (!$("first").value) $("second").value = "";
  const mixed = modelName().includes("+");
  for (const label of document.querySelectorAll(".weight")) {
    label.hidden = !mixed;
    label.querySelector("output").textContent = number(100 * label.querySelector("input").value) + " %";
  }
  $("model").textContent = modelName() || state.base;
}

export const isPressed = (button) => button.dataset.recording === "true";

async function toggleRecording() {
  if (!isPressed($("record"))) await listen(recorder, $("record"), $("level"), $("clock"), $("try-status"));
  else {
    const samples = await endListening(recorder, $("record"), $("level"));
    await take(wavOf(samples), "recording.wav", samples);
  }
}

/** Begin to record; the button then ends it. */
export async function listen(from, button, level, clock, status) {
  try {
    await from.start((peak, seconds) => {
      level.style.width = `${Math.min(100, 100 * Math.sqrt(peak))}%`;
      level.classList.toggle("loud", peak > 0.97);
      clock.textContent = t("seconds", { seconds: number(seconds, 1) });
      button.dataset.seconds = seconds;
    });
  } catch (error) {
    const reasons = { insecure: "no_microphone_insecure", NotAllowedError: "no_microphone_allowed" };
    throw new Error(t(reasons[error.message] ?? reasons[error.name] ?? "no_microphone"));
  }
  button.dataset.seconds = 0;
  button.dataset.recording = "true"; // its label changes, so it is not aria-pressed
  button.textContent = t("stop");
  status.textContent = t("recording");
}

export async function endListening(from, button, level) {
  button.dataset.recording = "false";
  button.textContent = t(button.dataset.text);
  level.style.width = "0";
  return from.stop();
}

async function take(blob, name = blob.name, samples = undefined) {
  const current = (speech = { blob, name, samples });
  results = {};
  $("results").hidden = true;
  $("transcribe").disabled = true;
  current.samples ??= await decode(blob);
  if (speech !== current) return; // the user has chosen other speech meanwhile
  delete $("source").dataset.text;
  $("source").textContent = name;
  $("clock").textContent = speech.samples ? t("seconds", { seconds: number(speech.samples.length / RATE, 1) }) : "";
  $("transcribe").disabled = false;
  await run($("transcribe"), $("try-status"), transcribe);
}

const request = (model, fields, signal) =>
  api("audio/transcriptions", { method: "POST", signal, body: form({
    model, file: new File([speech.blob], speech.name), ...fields }) });

/** Recognise the speech with the base and the chosen adapter; if the user chooses another one meanwhile, with that. */
async function transcribe() {
  $("try-status").textContent = t("transcribing");
  const models = { base: state.base, ...(modelName() ? { adapter: modelName() } : {}) };
  const [current, began] = [speech, performance.now()];
  const { signal } = (recognition = new AbortController());
  const fields = { response_format: "verbose_json", "timestamp_granularities[]": ["word", "segment"], alternatives: 3 };
  const answers = await Promise.all(Object.entries(models).map(async ([column, model]) =>
    [column, { model, ...(await (await request(model, fields, signal)).json()) }]))
    .catch((error) => { if (!signal.aborted) throw error; });
  if (speech !== current) return;
  if (signal.aborted) return transcribe();
  results = Object.fromEntries(answers);
  const seconds = number((performance.now() - began) / 1000, 1);
  $("try-status").textContent = t("transcribed", { duration: number(chosen().duration, 1), seconds });
  $("correct-text").value = chosen().text;
  showResults();
}

// ---- results

function showResults() {
  $("results").hidden = false;
  const [base, adapter] = [results.base.words, results.adapter?.words];
  const differ = adapter ? differences(base, adapter) : [new Set(), new Set()];
  const columns = [column(t("by_base"), results.base, differ[0])];
  if (adapter) columns.push(column(results.adapter.model, results.adapter, differ[1]));
  $("columns").replaceChildren(...columns);
  $("columns").classList.toggle("single", !adapter);
  const model = results.adapter?.model ?? "";
  if (model && !model.includes("+") && ["", offered].includes($("correct-name").value))
    $("correct-name").value = offered = model;
  showWave(chosen().words, differ[adapter ? 1 : 0]);
}

function column(heading, result, differing) {
  const words = result.words.map((word, index) => wordButton(result, index, differing.has(index)));
  const text = make("p", { className: "words", lang: state.language ?? "" }, ...words.flatMap((word) => [word, " "]));
  text.onkeydown = moveAmong;
  if (!words.length) text.textContent = t("nothing_heard");
  const note = make("p", { className: "quiet", textContent: guardNote(result) });
  const alternatives = make("div", { className: "alternatives", role: "group" });
  return make("div", { className: "card" }, make("h3", { textContent: heading }), text, alternatives, note);
}

/** The alternatives of a word, below its text; the chosen text replaces the word, and goes into the correction. */
function offerAlternatives(result, index, button) {
  const card = button.closest(".card");
  const { word, alternatives = [] } = result.words[index];
  offerChoices(card.querySelector(".alternatives"), word, alternatives, button, (text) => {
    const others = alternatives.map((other) => (other === text ? word : other));
    Object.assign(result.words[index], { word: text, confidence: 1, alternatives: others });
    result.text = result.words.map((entry) => entry.word).join(" ");
    if (result === chosen()) $("correct-text").value = result.text;
    const column = [...$("columns").children].indexOf(card);
    showResults();
    focusWord($("columns").children[column].querySelectorAll(".word")[index]);
  });
}

/** A button for each alternative of a word, in `place`; Escape goes back to the word's button. */
export function offerChoices(place, word, alternatives, button, choose) {
  place.setAttribute("aria-label", t("instead_of", { word }));
  place.replaceChildren(...alternatives.map((text) =>
    make("button", { textContent: text, lang: state.language ?? "", onclick: () => choose(text) })));
  place.onkeydown = (event) => event.key === "Escape" && (place.replaceChildren(), button.focus());
  place.querySelector("button")?.focus();
}

function focusWord(button) {
  for (const word of button.parentElement.querySelectorAll("button")) word.tabIndex = -1;
  button.tabIndex = 0;
  button.focus();
}

/** Whether a guarded adapter's text was used; "" without a guard. */
function guardNote({ gate = [], model }) {
  const used = gate.filter((piece) => piece.adapter).length;
  const key = used === gate.length ? "guard_with" : used ? "guard_partly" : "guard_without";
  return gate.length ? t(key, { model }) : "";
}

function wordButton(result, index, differs) {
  const word = result.words[index];
  const sure = number(100 * word.confidence);
  const title = t(word.alternatives ? "word_title_unsure" : "word_title", { sure });
  const button = make("button", { className: "word", title, tabIndex: index ? -1 : 0 });
  button.append(differs ? make("mark", { textContent: word.word }) : word.word);
  if (differs) button.append(make("span", { className: "unseen", textContent: ` (${t("legend_differs")})` }));
  button.classList.toggle("uncertain", word.confidence < UNCERTAIN);
  button.onclick = () => {
    if (speech.samples) play(speech.samples, word.start, word.end);
    offerAlternatives(result, index, button);
  };
  return button;
}

/** Arrow keys go from word to word, so that Tab leaves the text. */
function moveAmong(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const words = [...event.currentTarget.querySelectorAll("button")];
  const next = step && words[words.indexOf(document.activeElement) + step];
  if (next) focusWord(next);
}

function showWave(words, differing) {
  document.querySelector(".wave-card").hidden = !speech.samples;
  if (!speech.samples) return;
  const seconds = speech.samples.length / RATE;
  const width = Math.max($("wave").clientWidth, Math.round(seconds * PIXELS));
  $("wave-inner").style.width = `${width}px`;
  draw($("canvas"), speech.samples, width, 72);
  const spots = words.map((word, index) => {
    const spot = make("span", { textContent: word.word });
    spot.style.left = `${(word.start / seconds) * width}px`;
    spot.style.width = `${Math.max(8, ((word.end - word.start) / seconds) * width)}px`;
    spot.classList.toggle("uncertain", word.confidence < UNCERTAIN);
    spot.classList.toggle("differs", differing.has(index));
    spot.onclick = () => play(speech.samples, word.start, word.end);
    return spot;
  });
  $("wave-words").replaceChildren(...spots);
}

/** The indices of words in each text that are not in a longest common subsequence; none for very long texts. */
export function differences(before, after) {
  if (before.length * after.length > MAX_PAIRS) return [new Set(), new Set()];
  const [a, b] = [before, after].map((words) => words.map((word) => word.word));
  const longest = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  const differing = [new Set(a.keys()), new Set(b.keys())];
  for (let i = 0, j = 0; i < a.length && j < b.length; )
    if (a[i] === b[j]) {
      differing[0].delete(i++);
      differing[1].delete(j++);
    } else if (longest[i + 1][j] >= longest[i][j + 1]) i++;
    else j++;
  return differing;
}

// ---- a correction

async function saveCorrection() {
  const [name, text] = [$("correct-name").value.trim(), $("correct-text").value];
  const file = new File([speech.blob], speech.name);
  await apiJson("voices", { method: "POST", body: form({ name, consent: "true" }) });
  const stored = await apiJson(`${pathOf(name)}/recordings`, { method: "POST", body: form({ file, text }) });
  $("correct-status").textContent = t("correct_saved", { name, recordings: stored.recordings });
  await refresh();
}
