/* Sound in the page: the microphone → samples at 16 kHz → a WAV file; playing a part; drawing.

   Samples are a Float32Array, 16 kHz, one channel; times are in seconds. */

export const RATE = 16000;
let player = null;
let playing = null;

/** The microphone, open from `start` to `stop` only, so that its light goes out. */
export class Recorder {
  async start(onLevel) {
    if (!navigator.mediaDevices) throw new Error("insecure");
    const plain = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("page/recorder.js");
    this.blocks = [];
    this.count = 0;
    this.tap = new AudioWorkletNode(this.context, "tap");
    this.tap.port.onmessage = ({ data }) => {
      this.take(data);
      this.count += data.length;
      onLevel(data.reduce((peak, x) => Math.max(peak, Math.abs(x)), 0), this.count / this.context.sampleRate);
    };
    try { // last, so that no beginning is lost
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    } catch (error) {
      await this.context.close();
      throw error;
    }
    this.context.createMediaStreamSource(this.stream).connect(this.tap).connect(this.context.destination);
  }

  /** A block of samples, at the rate of the context. */
  take(block) {
    this.blocks.push(block);
  }

  async stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    const rate = this.context.sampleRate;
    await this.context.close();
    if (!this.blocks.length) return new Float32Array(0);
    const all = new AudioBuffer({ length: this.count, sampleRate: rate, numberOfChannels: 1 });
    let at = 0;
    for (const block of this.blocks) {
      all.copyToChannel(block, 0, at);
      at += block.length;
    }
    const offline = new OfflineAudioContext(1, Math.max(1, Math.round((this.count * RATE) / rate)), RATE);
    const source = new AudioBufferSourceNode(offline, { buffer: all });
    source.connect(offline.destination);
    source.start();
    return (await offline.startRendering()).getChannelData(0);
  }
}

/** A WAV file, 16 bits. */
export function wavOf(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true); view.setUint16(32, 2, true);
  view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, x)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

/** A file's samples; null if this browser can't decode it, though the server may. */
export async function decode(blob) {
  try {
    const buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await blob.arrayBuffer());
    const mixed = new Float32Array(buffer.length);
    for (let c = 0; c < buffer.numberOfChannels; c++)
      buffer.getChannelData(c).forEach((x, i) => { mixed[i] += x / buffer.numberOfChannels; });
    return mixed;
  } catch {
    return null;
  }
}

/** Stop the current sound, and play from `start` to `end`. */
export function play(samples, start = 0, end = samples.length / RATE) {
  playing?.stop();
  player ??= new AudioContext();
  player.resume();
  const buffer = new AudioBuffer({ length: Math.max(1, samples.length), sampleRate: RATE, numberOfChannels: 1 });
  buffer.copyToChannel(samples, 0);
  playing = new AudioBufferSourceNode(player, { buffer });
  playing.connect(player.destination);
  playing.start(0, start, Math.max(0.02, end - start));
}

/** Draw samples over the width of a canvas, in its text colour. */
export function draw(canvas, samples, width, height) {
  const scale = Math.min(window.devicePixelRatio || 1, 32000 / width);
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).color;
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0.01);
  for (let x = 0; x < canvas.width; x++) {
    const from = Math.floor((x * samples.length) / canvas.width);
    const to = Math.max(from + 1, Math.floor(((x + 1) * samples.length) / canvas.width));
    let most = 0;
    for (let i = from; i < to; i++) most = Math.max(most, Math.abs(samples[i]));
    const half = Math.max(0.5, (most / peak) * 0.48 * canvas.height);
    context.fillRect(x, canvas.height / 2 - half, 1, 2 * half);
  }
}
