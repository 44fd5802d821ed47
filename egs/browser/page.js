// Recognition by onnxruntime-web: audio and a voice's vectors in, text out. See graph.json for the inputs.
import * as ort from "./vendor/ort.wasm.min.mjs";

const RATE = 16000;
const element = (id) => document.getElementById(id);
const voices = { "": {} }; // name → {input: Float32Array}
let graph, session, samples;

// The vectors of a .safetensors file, ours or PEFT's, by the graph's inputs.
// https://huggingface.co/docs/safetensors: 8 bytes with the header's length, the header in JSON, the tensors.
function readVectors(buffer, name) {
  const length = buffer.byteLength < 8 ? Infinity : Number(new DataView(buffer).getBigUint64(0, true));
  if (8 + length > buffer.byteLength) throw new Error(`${name}: is no .safetensors file`);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const vectors = {};
  for (const [key, tensor] of Object.entries(header)) {
    if (key === "__metadata__") continue;
    const path = key.replace("base_model.model.", "");
    const side = tensor.shape.length === 2 && tensor.shape[0] === 1 ? "in" : "out";
    const input = graph.inputs.find(
      (i) => i.name === path || (`${i.module}.ia3_l` === path && i.side === side));
    if (!input) throw new Error(`${name}: ${path} is no input of this graph (is it an adapter of ${graph.name}?)`);
    const [begin, end] = tensor.data_offsets.map((offset) => 8 + length + offset);
    if (tensor.dtype !== "F32" || end - begin !== 4 * input.size) {
      throw new Error(`${name}: ${path} has ${tensor.dtype} ${tensor.shape}, and the graph ${input.size} float32`);
    }
    vectors[input.name] = new Float32Array(buffer.slice(begin, end));
  }
  return vectors;
}

// Greedy search: the best symbol of every frame, repeats merged, blanks dropped.
function readText(logits, frames) {
  const { tokens, blank, delimiter, special, cased } = graph.vocabulary;
  const symbols = Object.fromEntries(Object.entries(tokens).map(([token, id]) => [id, token]));
  const [, , size] = logits.dims;
  let text = "", previous = blank;
  for (let frame = 0; frame < frames; frame++) {
    const row = logits.data.subarray(frame * size, (frame + 1) * size);
    const best = row.indexOf(row.reduce((a, b) => (b > a ? b : a)));
    if (best !== previous && best !== blank && !special.includes(symbols[best])) {
      text += symbols[best] === delimiter ? " " : symbols[best];
    }
    previous = best;
  }
  text = text.trim().replace(/ +/g, " ");
  return cased === "upper" ? text.toLowerCase() : text;
}

async function recognize() {
  if (!samples) return;
  const seconds = samples.length / RATE;
  if (samples.length < graph.minimum_samples) throw new Error("the recording is too short");
  if (graph.maximum_seconds && seconds > graph.maximum_seconds) {
    throw new Error(`the recording has ${seconds.toFixed(1)} s, and the base ends at ${graph.maximum_seconds} s`);
  }
  const vectors = voices[element("voice").value];
  const feeds = {
    waves: new ort.Tensor("float32", samples, [1, samples.length]),
    lengths: new ort.Tensor("int64", BigInt64Array.of(BigInt(samples.length)), [1]),
  };
  for (const { name, size } of graph.inputs) {
    feeds[name] = new ort.Tensor("float32", vectors[name] ?? new Float32Array(size).fill(1), [1, size]);
  }
  const start = performance.now();
  const { logits, frames } = await session.run(feeds);
  element("text").textContent = readText(logits, Number(frames.data[0]));
  const took = (performance.now() - start) / 1000;
  return `${seconds.toFixed(1)} s of audio in ${took.toFixed(1)} s`;
}

// One piece of work at a time; what goes wrong is said, and the page goes on.
let work = Promise.resolve();
function then(task) {
  work = work.then(async () => {
    document.body.dataset.state = "busy";
    try {
      element("status").textContent = (await task()) ?? "ready";
      document.body.dataset.state = "ready";
    } catch (error) {
      element("status").textContent = error.message;
      document.body.dataset.state = "fault";
    }
  });
}

function addVoice(name, buffer) {
  voices[name] = readVectors(buffer, name);
  element("voice").add(new Option(name, name));
}

element("voice").addEventListener("change", () => then(recognize));
element("recording").addEventListener("change", (event) => then(async () => {
  const audio = await event.target.files[0].arrayBuffer();
  const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(audio); // resamples
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, n) => decoded.getChannelData(n));
  const mixed = channels[0].map((_, n) => channels.reduce((sum, channel) => sum + channel[n], 0) / channels.length);
  samples = undefined;
  element("text").textContent = "";
  if (mixed.every((sample) => Math.abs(sample) < 1e-4)) throw new Error("the recording is silent");
  samples = mixed;
  return recognize();
}));
element("adapter").addEventListener("change", (event) => then(async () => {
  const [file] = event.target.files;
  addVoice(file.name, await file.arrayBuffer());
  element("voice").value = file.name;
  return recognize();
}));
then(async () => {
  ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
  ort.env.wasm.numThreads = 1; // more need headers of cross-origin isolation
  graph = await (await fetch("graph/graph.json")).json();
  for (const name of await (await fetch("voices.json")).json()) {
    addVoice(name, await (await fetch(`voices/${encodeURIComponent(name)}.safetensors`)).arrayBuffer());
  }
  session = await ort.InferenceSession.create("graph/model.onnx");
  for (const id of ["voice", "adapter", "recording"]) element(id).disabled = false;
});
