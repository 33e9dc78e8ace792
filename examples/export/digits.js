/* The digits network in a browser, or in Node: classifies images, and trains on. */

export const PIXELS = 784, CLASSES = 10;

export class Network {
  /* wasm: the bytes of digits.wasm; constants: those of its header; data: the images, then the
     classes as rows of ten numbers, all of them float64. */
  static async load(wasm, constants, data) {
    const { instance } = await WebAssembly.instantiate(wasm, {});
    return new Network(instance.exports, constants, data);
  }

  constructor(library, constants, data) {
    this.library = library;
    this.constants = constants;
    this.heap = library.__heap_base.value;
    this.samples = data.byteLength / 8 / (PIXELS + CLASSES);
    this.x = this.allocate(data.byteLength);
    this.t = this.x + 8 * this.samples * PIXELS;
    new Uint8Array(library.memory.buffer, this.x, data.byteLength).set(new Uint8Array(data));
    this.state = this.allocate(constants.DIGITS_STATE_BYTES);
    this.workspace = this.allocate(Math.max(
      constants.DIGITS_TRAIN_WORKSPACE, constants.DIGITS_CLASSIFY_WORKSPACE,
    ));
    this.result = this.allocate(8);
    this.mean = this.allocate(8);
    this.check(library.digits_init(this.state, 0));
  }

  /* Memory of the module, at a multiple of 64 bytes; it is never given back. */
  allocate(size) {
    const at = (this.heap + 63) & ~63;
    this.heap = at + size;
    const { memory } = this.library;
    const pages = Math.ceil((this.heap - memory.buffer.byteLength) / 65536);
    if (pages > 0) memory.grow(pages);
    return at;
  }

  check(status) {
    if (status === 0n) return;
    const at = this.library.digits_message(status);
    const bytes = new Uint8Array(this.library.memory.buffer, at);
    throw new Error(new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0))));
  }

  /* The pixels of an image, numbers from 0 to 1. */
  image(index) {
    return new Float64Array(this.library.memory.buffer, this.x + 8 * PIXELS * index, PIXELS);
  }

  /* What an image is. */
  truth(index) {
    const at = this.t + 8 * CLASSES * index;
    return new Float64Array(this.library.memory.buffer, at, CLASSES).indexOf(1);
  }

  /* What the network takes an image for. */
  classify(index) {
    const image = this.x + 8 * PIXELS * index;
    this.check(this.library.digits_classify(this.state, image, this.result, this.workspace));
    return Number(new DataView(this.library.memory.buffer).getBigInt64(this.result, true));
  }

  /* How many images it takes for what they are. */
  classified() {
    let right = 0;
    for (let i = 0; i < this.samples; i++) right += this.classify(i) === this.truth(i);
    return right;
  }

  /* Train for an epoch; its mean loss. */
  train(seed = 1) {
    const steps = BigInt(this.constants.DIGITS_STEPS_OF_EPOCH);
    this.check(this.library.digits_train(
      this.state, this.x, this.t, BigInt(seed), steps, this.mean, this.result, this.workspace,
    ));
    return new DataView(this.library.memory.buffer).getFloat64(this.mean, true);
  }
}
