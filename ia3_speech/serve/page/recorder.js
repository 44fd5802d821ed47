/* Passes the microphone's samples on: blocks of 128 samples, gathered to 2,048. */
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(2048);
    this.filled = 0;
  }
  process([input]) {
    if (input.length) {
      this.block.set(input[0], this.filled);
      this.filled += input[0].length;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block);
        this.block = new Float32Array(2048);
        this.filled = 0;
      }
    }
    return true;
  }
}
registerProcessor("tap", Tap);
