// A conversation with a Glowplug backend: words and speech in both directions. Plain ES module, no dependencies.
//
//   const talk = new Talk();
//   talk.addEventListener("reply_delta", ({ detail }) => console.log(detail.text));
//   await talk.open();
//   talk.say("Hello");
//
// Each frame of the server is an event of its `type`; `audio` is played as well. Besides: `quiet`, when the last sound
// has been heard (`speaking` is true until then, often long after `reply_done`), and `closed` {code, reason}.

export class Talk extends EventTarget {
  #address; #socket; #announced = null; #player = new Player(); #microphone = null;

  constructor(address = "/ws/conversation") {
    super();
    this.#address = new URL(address, location.href.replace(/^http/, "ws"));
    this.#player.onquiet = () => this.#tell("quiet", {});
  }

  open() {
    return new Promise((resolve, reject) => {
      this.#socket = new WebSocket(this.#address);
      this.#socket.binaryType = "arraybuffer";
      this.#socket.onopen = resolve;
      this.#socket.onmessage = ({ data }) => this.#take(data);
      this.#socket.onclose = ({ code, reason }) => {
        this.#player.stop();
        this.#microphone?.stop();
        reject(new Error(reason || `closed with ${code}`));
        this.#tell("closed", { code, reason });
      };
    });
  }

  // What is being spoken is nobody's wish any more: silence here at once, and the server stops its model.
  say(text) { this.#player.start(); this.#send({ type: "text", text }); }
  stop() { this.#player.stop(); this.#send({ type: "stop" }); }
  reset() { this.#player.stop(); this.#send({ type: "reset" }); }
  close() { this.#socket?.close(1000); }

  get speaking() { return this.#player.busy; }
  get listening() { return this.#microphone !== null; }

  async listen() {
    if (this.#microphone) return;
    this.#player.start();
    const microphone = await Microphone.open((samples) => this.#socket.send(samples));
    this.#microphone = microphone;
    this.#send({ type: "audio_start", format: "pcm", sample_rate: microphone.rate });
    microphone.begin();
  }

  finish() {
    if (!this.#microphone) return;
    this.#microphone.stop();
    this.#microphone = null;
    this.#send({ type: "audio_end" });
  }

  #send(frame) { this.#socket.send(JSON.stringify(frame)); }
  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  #take(data) {
    if (data instanceof ArrayBuffer) {
      this.#player.add(data, this.#announced);
      return;
    }
    const frame = JSON.parse(data);
    if (frame.type === "audio") this.#announced = frame;
    if (frame.type === "interrupted") this.#player.stop();
    this.#tell(frame.type, frame);
  }
}

// Sounds arrive faster than they are heard: one after the other, without a gap.
class Player {
  #context = null; #until = 0; #sources = new Set(); #order = Promise.resolve(); #generation = 0; #coming = 0;
  onquiet = () => {};

  get busy() { return this.#coming + this.#sources.size > 0; }

  // Browsers let a page be heard only after somebody has touched it.
  start() {
    this.stop();
    this.#context ??= new AudioContext();
    this.#context.resume();
  }

  add(data, about) {
    const generation = this.#generation;
    this.#coming += 1;
    this.#order = this.#order.then(async () => {
      if (!this.#context || generation !== this.#generation) return;
      const sound = about.format === "pcm" ? this.#samples(data, about.sample_rate) : await this.#context.decodeAudioData(data);
      if (generation === this.#generation) this.#play(sound);
    }).catch((error) => console.warn("a sound cannot be played:", error))
      .then(() => { this.#coming -= 1; this.#rest(); });
  }

  stop() {
    this.#generation += 1;
    this.#until = 0;
    for (const source of this.#sources) source.stop();
    this.#sources.clear();
  }

  #play(sound) {
    const source = this.#context.createBufferSource();
    source.buffer = sound;
    source.connect(this.#context.destination);
    source.onended = () => { this.#sources.delete(source); this.#rest(); };
    this.#sources.add(source);
    this.#until = Math.max(this.#until, this.#context.currentTime + 0.02);
    source.start(this.#until);
    this.#until += sound.duration;
  }

  #rest() { if (!this.busy) this.onquiet(); }

  #samples(data, rate) {
    const whole = new Int16Array(data, 0, data.byteLength >> 1);
    const sound = this.#context.createBuffer(1, Math.max(1, whole.length), rate);
    sound.getChannelData(0).set(Float32Array.from(whole, (sample) => sample / 32768));
    return sound;
  }
}

const RECORDER = `
registerProcessor("recorder", class extends AudioWorkletProcessor {
  #samples = new Int16Array(2048); #count = 0;
  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.#samples[this.#count++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.#count === this.#samples.length) { this.port.postMessage(this.#samples.slice()); this.#count = 0; }
    }
    return true;
  }
});`;

class Microphone {
  #stream; #context; #recorder;

  static async open(onSamples) {
    if (!navigator.mediaDevices) throw new Error("browsers give it only to pages of https or localhost");
    const microphone = new Microphone();
    microphone.#stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, channelCount: 1 } });
    microphone.#context = new AudioContext();
    const code = URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" }));
    await microphone.#context.audioWorklet.addModule(code);
    URL.revokeObjectURL(code);
    microphone.#recorder = new AudioWorkletNode(microphone.#context, "recorder");
    microphone.#recorder.port.onmessage = ({ data }) => onSamples(data.buffer);
    return microphone;
  }

  get rate() { return this.#context.sampleRate; }
  begin() { this.#context.createMediaStreamSource(this.#stream).connect(this.#recorder); }

  stop() {
    this.#recorder.port.onmessage = null;
    for (const track of this.#stream.getTracks()) track.stop();
    this.#context.close();
  }
}
