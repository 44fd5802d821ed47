/* Dictate: speech becomes text while it is spoken, by WS /v1/realtime; the user edits the text at any time.

   While the microphone is on, nothing is announced: it would hear the screen reader. */

import { $, make, number, run, state, t } from "./common.js";
import { Recorder } from "./audio.js";
import { copy, endListening, isPressed, listen, offerChoices } from "./try.js";

const RATE = 24000; // of the samples that the server takes
const MAX_UNSURE = 12; // words that are offered for a correction: the newest
const TRANSCRIPTION = "conversation.item.input_audio_transcription";
const WORD = /[\p{L}\p{N}'’]+/gu;
let session = null; // { socket, fault, finished }
let heard = ""; // of the current sentence, without dictation

/** A microphone whose samples go to the server. */
class Microphone extends Recorder {
  sum = 0;
  covered = 0; // of the next sample to be sent, in samples of the microphone

  /** A sample that is sent is the mean of the microphone's samples in its time. */
  take(block) {
    const step = this.context.sampleRate / RATE;
    const samples = [];
    for (const x of block) {
      let left = 1;
      while (this.covered + left >= step) {
        const part = step - this.covered;
        samples.push(32767 * Math.max(-1, Math.min(1, (this.sum + part * x) / step)));
        left -= part;
        this.sum = this.covered = 0;
      }
      this.sum += left * x;
      this.covered += left;
    }
    const bytes = new Uint8Array(Int16Array.from(samples).buffer);
    send({ type: "input_audio_buffer.append", audio: btoa(String.fromCharCode(...bytes)) });
  }
}

const microphone = new Microphone();

export function startDictating() {
  $("dictate-record").onclick = () => run($("dictate-record"), $("dictate-status"), toggle);
  for (const id of ["dictate-voice", "dictate-written"]) $(id).onchange = configure;
  $("dictate-copy").onclick = () => run($("dictate-copy"), $("dictate-status"), () =>
    copy($("dictate-text").value, $("dictate-status")));
  document.addEventListener("refreshed", () => { $("dictate-text").lang = state.language ?? ""; });
}

async function toggle() {
  if (isPressed($("dictate-record"))) {
    await end();
    $("dictate-status").textContent = t("dictate_done", { words: number(spots().length) });
    return;
  }
  await connect();
  try {
    await listen(microphone, $("dictate-record"), $("dictate-level"), $("dictate-clock"), $("dictate-status"));
  } catch (error) {
    session.socket.close();
    throw error;
  }
  if (session.socket.readyState !== WebSocket.OPEN) await end(); // it was closed while the browser asked the user
  $("dictate-status").textContent = t("dictate_on");
}

/** Turn the microphone off, and wait for the last text. Throws if the server has ended the session. */
async function end() {
  await endListening(microphone, $("dictate-record"), $("dictate-level"));
  if (session.socket.readyState === WebSocket.OPEN)
    await new Promise((resolve) => {
      session.socket.addEventListener("close", resolve);
      send({ type: "input_audio_buffer.commit" });
      send({ type: "input_audio_buffer.clear" }); // its answer comes after the last text
    });
  $("dictate-live").textContent = heard = "";
  if (!session.finished) throw new Error(session.fault || t("dictate_broken"));
}

const send = (event) => session?.socket?.readyState === WebSocket.OPEN && session.socket.send(JSON.stringify(event));

/** Tell the server the user's choices, also in the middle of a dictation. */
function configure() {
  const transcription = { dictation: $("dictate-written").checked, alternatives: 3 };
  transcription.model = $("dictate-voice").value || state.base;
  send({ type: "session.update", session: { type: "transcription", audio: { input: { transcription } } } });
}

/** Open a session that takes audio. Throws the server's message. */
function connect() {
  const address = new URL("v1/realtime", document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  const key = sessionStorage.getItem("key");
  const protocols = ["realtime", ...(key ? [`openai-insecure-api-key.${key}`] : [])];
  return new Promise((resolve, reject) => {
    const current = (session = { socket: null, fault: "", finished: false });
    const fail = () => reject(new Error(current.fault || t("dictate_broken")));
    try {
      current.socket = new WebSocket(address, protocols);
    } catch { // a character of the key can't be in a protocol; the browser's message has the key
      return fail();
    }
    current.socket.onmessage = ({ data }) => answer(JSON.parse(data), current, resolve);
    current.socket.onclose = () => {
      fail();
      if (isPressed($("dictate-record"))) run($("dictate-record"), $("dictate-status"), end);
    };
  });
}

function answer(event, current, ready) {
  if (event.type === "session.created") configure();
  else if (event.type === "session.updated") ready();
  else if (event.type === `${TRANSCRIPTION}.delta`) $("dictate-live").textContent = heard += event.delta;
  else if (event.type === `${TRANSCRIPTION}.partial`) $("dictate-live").textContent = event.text;
  else if (event.type === `${TRANSCRIPTION}.completed`) append(event);
  else if (event.type === "input_audio_buffer.cleared") {
    current.finished = true;
    current.socket.close();
  } else if (event.type === "error" && event.error.code !== "input_audio_buffer_commit_empty") {
    current.fault = event.error.message;
    current.socket.close();
  }
}

// ---- the text

/** The words of the text that are `word`, or all: matches, with their places. */
const spots = (word) =>
  [...$("dictate-text").value.matchAll(WORD)].filter(([other]) => !word || other.toLowerCase() === word.toLowerCase());

/** Append a final text, and offer its unsure words for correction. The user's selection stays. */
function append({ transcript, words }) {
  $("dictate-live").textContent = heard = "";
  const text = $("dictate-text");
  const end = text.value.length;
  const blank = transcript && /\S$/.test(text.value) ? " " : "";
  text.setRangeText(blank + transcript, end, end, "preserve");
  if (document.activeElement !== text) text.scrollTop = text.scrollHeight;
  let from = end;
  for (const { word, alternatives } of words) {
    const spot = spots(word).find(({ index }) => index >= from);
    if (!spot) continue; // dictation wrote something else
    from = spot.index + word.length;
    if (alternatives) offer(word, alternatives, spot.index);
  }
}

function offer(word, alternatives, place) {
  const button = make("button", { className: "uncertain", textContent: word, lang: state.language ?? "" });
  button.onclick = () => offerChoices($("dictate-choices"), word, alternatives, button, (choice) => {
    const [spot] = spots(word).sort((a, b) => Math.abs(a.index - place) - Math.abs(b.index - place));
    $("dictate-choices").replaceChildren();
    button.remove();
    $("dictate-doubts").hidden = !$("dictate-unsure").children.length;
    $("dictate-text").focus();
    if (!spot) return; // the user has changed it already
    const written = spot[0] === spot[0].toLowerCase() ? choice : choice[0].toUpperCase() + choice.slice(1);
    $("dictate-text").setRangeText(written, spot.index, spot.index + spot[0].length, "select");
  });
  $("dictate-unsure").append(button);
  $("dictate-doubts").hidden = false;
  for (const old of [...$("dictate-unsure").children].slice(0, -MAX_UNSURE))
    if (old !== document.activeElement) old.remove();
}
