/* Make my own: consent, then sentences to read one at a time, or recordings to upload. */

import { $, apiJson, form, make, number, pathOf, refresh, run, sentences, state, t } from "./common.js";
import { Recorder, play, wavOf } from "./audio.js";
import { endListening, isPressed, listen } from "./try.js";
import { showCards } from "./voices.js";

const QUIET = 0.03; // of full scale: the page warns of a recording with a lower peak
const CLIPPED = 0.99; // … and with a higher peak
const recorder = new Recorder();
let voice = ""; // the name for which sentences are read
let list = []; // of sentences
let place = 0; // in the list
let stored = 0; // recordings of this voice
let samples = null; // of the last recording
let goodEnough = false; // neither too quiet nor too loud
let busy = false; // while a recording is saved

export function startReading() {
  $("consent").onsubmit = (event) => {
    event.preventDefault();
    run(event.submitter, $("consent-fault"), agree);
  };
  $("read-record").onclick = () => run($("read-record"), $("read-status"), toggle).then(offerToKeep);
  $("read-play").onclick = () => play(samples);
  $("read-keep").onclick = () => run($("read-keep"), $("read-status"), keep).then(showSentence);
  $("read-skip").onclick = () => {
    next(t("skip_sentence"));
    $("sentence").focus(); // the next key press must not begin to record
  };
  $("paste").onclick = () => useSentences($("pasted").value.split("\n"));
  $("sentence-file").onchange = async () => {
    const [file] = $("sentence-file").files;
    $("sentence-file").value = ""; // so that the same file may be chosen again
    if (file) useSentences(sentencesIn(await file.text()));
  };
  $("upload-files").onchange = () => run($("upload-files"), $("upload-status"), upload);
  document.addEventListener("deleted", (event) => forget(event.detail));
  document.addEventListener("refreshed", () => {
    if (voice) showSentence();
    else list = sentences();
  });
}

async function agree() {
  const name = $("voice-name").value.trim();
  await apiJson("voices", { method: "POST", body: form({ name, consent: "true", new: "true" }) });
  await refresh();
  await readFor(name);
}

/** Show the sentences that a voice has not read yet. */
export async function readFor(name) {
  const { items } = await apiJson(pathOf(name));
  await endReading();
  const read = new Set(items.map((item) => item.text));
  [voice, stored, place] = [name, items.length, 0];
  list = sentences().filter((text) => !read.has(text));
  location.hash = "#make";
  $("consent").hidden = true;
  $("reading").hidden = false;
  showSentence();
  offerToRead();
  await showMade();
}

/** Discard the current recording. */
async function endReading() {
  if (isRecording()) await endListening(recorder, $("read-record"), $("read-level"));
  samples = null;
}

/** The voice was deleted: ask for consent again. */
async function forget(name) {
  if (name !== voice) return;
  await endReading();
  voice = "";
  $("consent").reset();
  $("consent").hidden = false;
  $("reading").hidden = true;
}

const showMade = () => showCards($("made"), [voice]);

const isRecording = () => isPressed($("read-record"));

function showSentence() {
  const over = place >= list.length;
  $("sentence").textContent = over ? t("all_read") : list[place];
  $("sentence").lang = over ? document.documentElement.lang : state.language ?? ""; // for a screen reader
  $("count").textContent = over ? "" : t("count", { number: place + 1, count: list.length, recorded: stored });
  $("read-record").textContent = t(isRecording() ? "stop" : samples ? "again" : "record");
  for (const id of ["read-play", "read-keep"]) $(id).disabled = !samples || busy;
  $("read-record").disabled = over || busy;
  // The sentence stays while it is being recorded or saved.
  $("read-skip").disabled = over || busy || isRecording();
  for (const id of ["paste", "sentence-file"]) $(id).disabled = busy || isRecording();
  if (!samples) $("read-clock").textContent = "";
}

function useSentences(lines) {
  const given = lines.map((line) => line.trim()).filter(Boolean);
  if (!given.length) return;
  [list, place, samples] = [given, 0, null];
  showSentence();
  $("read-status").textContent = t("sentences_used", { count: given.length });
  offerToRead();
}

async function toggle() {
  if (!isRecording()) {
    samples = null;
    goodEnough = false;
    showSentence();
    await listen(recorder, $("read-record"), $("read-level"), $("read-clock"), $("read-status"));
    showSentence();
    return;
  }
  samples = await endListening(recorder, $("read-record"), $("read-level"));
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const quality = peak < QUIET ? "too_quiet" : peak > CLIPPED ? "too_loud" : "recorded";
  goodEnough = quality === "recorded";
  $("read-status").textContent = t(quality);
  showSentence();
}

async function keep() {
  $("read-status").textContent = t("saving");
  const [name, file] = [voice, new File([wavOf(samples)], "speech.wav")];
  busy = true;
  showSentence();
  try {
    await send(name, file, list[place]);
  } finally {
    busy = false;
  }
  if (voice !== name) { // another voice has begun to read
    $("read-status").textContent = "";
    return;
  }
  next(t("kept"));
  if ([$("read-keep"), document.body].includes(document.activeElement)) offerToRead();
  await showMade();
}

function next(message) {
  samples = null;
  place += 1;
  $("read-status").textContent = message;
  showSentence();
}

/** Move the focus so that a single key records, stops and stores sentence after sentence. */
function offerToRead() {
  ($("read-record").disabled ? $("sentence") : $("read-record")).focus();
}

function offerToKeep() {
  if (goodEnough && document.activeElement === $("read-record")) $("read-keep").focus();
}

async function send(name, file, text) {
  const { recordings } = await apiJson(`${pathOf(name)}/recordings`, { method: "POST", body: form({ file, text }) });
  if (name === voice) stored = recordings;
}

// ---- tables

/** The rows of a table with commas, semicolons or TABs between its cells; cells may be in quotes. */
function rowsOf(text) {
  const heading = text.slice(0, text.indexOf("\n") >>> 0);
  const between = ["\t", ";", ","].find((character) => heading.includes(character)) ?? ",";
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${between}\\n]*))(${between}|\\n|$)`, "y");
  const rows = [[]];
  const all = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n").trimEnd();
  for (let match; cell.lastIndex <= all.length && (match = cell.exec(all)); ) {
    rows.at(-1).push((match[1]?.replaceAll('""', '"') ?? match[2]).trim());
    if (!match[3]) break;
    if (match[3] === "\n") rows.push([]);
  }
  return rows;
}

function sentencesIn(text) {
  const rows = rowsOf(text);
  const column = rows[0].findIndex((name) => /^(text|sentence)$/i.test(name));
  return column < 0 ? text.split("\n") : rows.slice(1).map((row) => row[column] ?? "");
}

async function upload() {
  const [owner, files] = [voice, [...$("upload-files").files]];
  $("upload-files").value = ""; // so that the same files may be chosen again
  const table = files.find((file) => /\.(csv|tsv)$/i.test(file.name));
  const [head, ...rows] = table ? rowsOf(await table.text()) : [[]];
  const [file, text] = ["file", "text"].map((name) => head.findIndex((cell) => cell.toLowerCase() === name));
  if (file < 0 || text < 0) throw new Error(t("upload_no_table"));
  const problems = [];
  let done = 0;
  for (const row of rows) {
    const name = (row[file] ?? "").split(/[\\/]/).at(-1);
    const recording = files.find((candidate) => candidate.name === name);
    try {
      if (!recording) throw new Error(t("upload_no_file", { name }));
      await send(owner, recording, row[text] ?? "");
      done += 1;
    } catch (error) {
      problems.push(recording ? t("upload_failed", { name, reason: error.message }) : error.message);
    }
    $("upload-status").textContent = t("upload_done", { stored: number(done), count: number(rows.length) });
  }
  $("upload-status").append(...problems.map((problem) => make("div", { className: "fault", textContent: problem })));
  showSentence();
  await showMade();
}
