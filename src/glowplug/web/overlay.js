// See docs/guide/overlay.md. Served as it stands, under 12 kB compressed.

const HEARTBEAT = 15000, STALE = 2 * HEARTBEAT, FIRST_EVENT = 5000, ASK_TIMEOUT = 10000;
const ASK = 1000, ASK_AFTER_ERROR = 2000, ASK_WATCHING = 10000;
const ANNOUNCE = 10000, FAREWELL = 700, FADE = 300, REPLAYS = 5;

const en = {
  connecting: 'Starting up',
  loading: 'Getting ready',
  finalizing: 'Almost ready',
  ready: 'Ready',
  error: 'This did not start',
  draining: 'Shutting down',
  unreachable: 'Server is starting or unreachable',
  offline: 'You are offline',
  trying: 'This page keeps trying.',
  heard: 'Last heard {0} ago.',
  elapsed: 'Loading for {0}',
  waiting: 'Waiting for {0}',
  about: 'about {0} left',
  under: 'less than {0} left',
  slower: 'Slower than thought:',
  longer: 'Longer than usual',
  works: 'Ready to use: {0}',
  optional: 'optional',
  bar: 'Loading progress',
  list: 'What is being loaded',
  retry: 'Retry',
  now: 'Try now',
  copy: 'Copy report',
  copied: 'Copied',
  hide: 'Hide',
  token: 'A token is needed to retry.',
  soon: 'Retry again in {0}',
  again: 'Trying again {0}',
  unknown: 'Unknown to the server',
  status: {
    pending: 'Waiting', fetching: 'Downloading', loading: 'Loading', warming: 'Warming up', ready: 'Ready',
    error: 'Failed', unavailable: 'Not available', sleeping: 'Asleep', draining: 'Shutting down',
  },
  hints: {
    transient: 'This often passes: try again.',
    permanent: 'Mend the cause, then try again.',
    out_of_memory: 'Free some memory, or choose a smaller model.',
    stalled: 'It stopped: try again.',
    not_installed: 'Not installed',
  },
  server: {},
};

const de = {
  connecting: 'Startet',
  loading: 'Wird vorbereitet',
  finalizing: 'Fast fertig',
  ready: 'Bereit',
  error: 'Der Start ist misslungen',
  draining: 'Wird beendet',
  unreachable: 'Server startet oder ist unerreichbar',
  offline: 'Sie sind offline',
  trying: 'Diese Seite versucht es weiter.',
  heard: 'Zuletzt gehört vor {0}.',
  elapsed: 'Lädt seit {0}',
  waiting: 'Wartet seit {0}',
  about: 'noch etwa {0}',
  under: 'noch weniger als {0}',
  slower: 'Langsamer als gedacht:',
  longer: 'Länger als üblich',
  works: 'Schon bereit: {0}',
  bar: 'Ladefortschritt',
  list: 'Was geladen wird',
  retry: 'Noch einmal',
  now: 'Jetzt versuchen',
  copy: 'Bericht kopieren',
  copied: 'Kopiert',
  hide: 'Ausblenden',
  token: 'Das braucht ein Token.',
  soon: 'Wieder möglich in {0}',
  again: 'Neuer Versuch {0}',
  unknown: 'Dem Server unbekannt',
  status: {
    pending: 'Wartet', fetching: 'Wird geholt', loading: 'Lädt', warming: 'Läuft warm', ready: 'Bereit',
    error: 'Fehler', unavailable: 'Nicht verfügbar', sleeping: 'Schläft', draining: 'Wird beendet',
  },
  hints: {
    transient: 'Das geht oft vorbei: noch einmal.',
    permanent: 'Erst die Ursache beheben, dann noch einmal.',
    out_of_memory: 'Speicher freigeben oder ein kleineres Modell wählen.',
    stalled: 'Es stockte: noch einmal.',
    not_installed: 'Nicht installiert',
  },
  server: {
    'AI models are still loading': 'Die KI-Modelle werden geladen',
    'AI models are warming up': 'Die KI-Modelle laufen warm',
    'Longer than usual: *, usually under *': 'Länger als üblich: *, sonst meist unter *',
    '* initialization failed: *': '* konnte nicht starten: *',
    'Out of memory': 'Zu wenig Speicher',
    'Starting': 'Startet',
    'Importing libraries': 'Bibliotheken werden geladen',
    'Downloading weights, * of *': 'Gewichte werden geholt, * von *',
    'Reading weights, * of *': 'Gewichte werden gelesen, * von *',
    'Reading weights': 'Gewichte werden gelesen',
    'Moving to the device': 'Kommt auf das Gerät',
    'Warming up': 'Läuft warm',
  },
};

const fill = (text, value) => text.replace('{0}', value);

function translated(text, sentences) {
  if (!text || sentences[text]) return sentences[text] ?? text ?? '';
  for (const pattern in sentences) {
    const found = text.match(new RegExp(`^${pattern.replaceAll('*', '(.+)')}$`));
    let at = 0;
    if (found) return sentences[pattern].replace(/\*/g, () => translated(found[++at], sentences));
  }
  return text;
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  return (minutes ? `${minutes} min ` : '') + `${Math.floor(seconds % 60)} s`;
}

function range(low, high) {
  const [a, b] = [low, high].map((seconds) => {
    const step = seconds <= 20 ? 1 : seconds <= 90 ? 5 : 60;
    const steps = Math.max(1, Math.ceil(seconds / step));
    return step === 60 ? [steps, ' min'] : [steps * step, ' s'];
  });
  if (a[1] !== b[1]) return `${a.join('')} – ${b.join('')}`;
  return a[0] === b[0] ? a.join('') : `${a[0]}–${b.join('')}`;
}

const moment = () => [performance.now(), Date.now()];

// Sleep stops one of the two clocks on some machines.
const msSince = ([run, wall]) => Math.max(performance.now() - run, Date.now() - wall);

const list = (names) => String(names ?? '').split(',').map((name) => name.trim()).filter(Boolean);
const address = (url) => new URL(url, document.baseURI);
const settled = (body) => body.ready || body.phase === 'error';
const failed = (row) => row.status === 'error' || row.status === 'unavailable';

function judge(body, names) {
  const services = body.services ?? {};
  const rows = (names.length ? names : Object.keys(services)).map((name) => (
    { name, label: name, status: 'pending', unknown: !services[name], ...services[name] }));
  const elapsed = Math.max(0, ...rows.map((row) => row.loading_seconds ?? 0)) || null;
  if (!names.length) {
    return {
      rows, phase: body.ready ? 'ready' : body.state === 'DRAINING' ? 'draining' : body.phase ?? 'loading',
      progress: body.progress, message: body.message,
      low: body.estimated_seconds, high: body.estimated_seconds_p90, elapsed: body.loading_seconds ?? elapsed,
    };
  }
  const missing = rows.filter((row) => !row.ready), broken = missing.filter(failed);
  const every = (...known) => missing.every((row) => known.includes(row.status));
  const slowest = (key) => (missing.some((row) => row[key] == null) ? null : Math.max(...missing.map((row) => row[key])));
  return {
    rows, elapsed, low: slowest('estimated_seconds'), high: slowest('estimated_seconds_p90'),
    phase: !missing.length ? 'ready' : broken.length ? 'error' : every('warming') ? 'finalizing'
      : every('pending') ? 'connecting' : every('draining') ? 'draining' : 'loading',
    progress: rows.reduce((sum, row) => sum + (row.ready ? 100 : row.progress ?? 0), 0) / rows.length,
    message: broken.filter((row) => row.error).map((row) => `${row.label}: ${row.error}`).join('; '),
  };
}

let pristine = null;
const send = (...request) => (pristine ?? globalThis.fetch).apply(globalThis, request);
const followers = new Map();

// One per URL: browsers allow six connections to a server.
class Follower {
  readers = new Set();
  log = [];
  #broken = new Set();
  #count = 0;

  constructor(src) {
    this.src = this.url = this.base = src;
  }

  static join(src, reader) {
    const url = address(src).href, known = followers.get(url), follower = known ?? new Follower(url);
    followers.set(url, follower);
    follower.readers.add(reader);
    known ? follower.poke() : follower.#run();
    return () => {
      follower.readers.delete(reader);
      if (follower.readers.size) return;
      followers.delete(url);
      follower.#end?.('closed', true);
      follower.poke();
    };
  }

  #end; #verify; #wake;

  poke() {
    this.#verify?.();
    this.#wake?.();
  }

  note(what) {
    if (this.log.at(-1)?.what !== what) this.log.push({ at: new Date(), what });
    if (this.log.length > 60) this.log.shift();
  }

  async #run() {
    const over = new AbortController(), signal = over.signal;
    let last = moment();
    const clock = setInterval(() => {
      if (msSince(last) > ASK_TIMEOUT) this.poke();
      last = moment();
    }, ASK);
    addEventListener('online', () => this.poke(), { signal });
    addEventListener('offline', () => (this.#fail('offline'), this.#end?.('offline', true)), { signal });
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#end?.('hidden', true) : this.poke()), { signal });
    while (this.readers.size) {
      const body = await this.#ask();
      if (!this.readers.size) break;
      if (!body) await this.#pause(ASK_AFTER_ERROR);
      else if (![...this.readers].some((reader) => reader.live)) await this.#pause(ASK_WATCHING);
      else if (settled(body)) await this.#pause(ASK_AFTER_ERROR);
      else await this.#live(body.links ?? {});
    }
    clearInterval(clock);
    over.abort();
  }

  async #live(links) {
    const began = moment();
    for (const way of document.hidden ? [] : ['stream', 'socket']) {
      if (!links[way] || this.#broken.has(way)) continue;
      const heard = await this.#hear(way, links[way]);
      if (!this.readers.size || (heard && msSince(began) > ASK)) return;
      if (heard) break;
      this.#broken.add(way);
    }
    await this.#pause(ASK);
  }

  async #ask(followed) {
    const count = this.#count, halt = new AbortController(), timer = setTimeout(() => halt.abort(), ASK_TIMEOUT);
    let why = 'no connection';
    try {
      const answer = await send(this.url, { cache: 'no-store', signal: halt.signal });
      why = answer.status;
      const body = await answer.json();
      if (typeof body.ready !== 'boolean') throw new TypeError();
      this.base = answer.url || this.url;
      if (!body.services && body.links?.self && !followed) {
        this.url = new URL(body.links.self, this.base).href;
        return await this.#ask(true);
      }
      this.note(`asked: ${why}`);
      if (count === this.#count) this.#tell(body);
      return body;
    } catch {
      this.#fail(why);
    } finally {
      clearTimeout(timer);
    }
  }

  #fail(why) {
    if (!this.readers.size) return;
    this.#broken.clear();
    this.trouble = { kind: navigator.onLine ? 'unreachable' : 'offline', why };
    this.note(`${this.trouble.kind}: ${why}`);
    for (const reader of [...this.readers]) reader.lost(this);
  }

  #tell(news) {
    this.body = { links: this.body?.links, ready: news.phase === 'ready', ...news };
    this.#count++;
    this.heard = moment();
    this.trouble = null;
    for (const reader of [...this.readers]) reader.news(this.body, this);
  }

  #hear(way, link) {
    return new Promise((done) => {
      let timer, source, events = 0;
      const end = this.#end = (why, fine = events) => {
        if (this.#end !== end) return;
        this.#end = this.#verify = null;
        clearTimeout(timer);
        source?.close();
        this.note(`${way}: ${why}`);
        done(fine);
      };
      // Heartbeats cannot be heard.
      const arm = () => {
        clearTimeout(timer);
        timer = setTimeout(() => (events ? this.#verify?.() : end('silent')), events ? HEARTBEAT : FIRST_EVENT);
      };
      this.#verify = async () => {
        const body = await this.#ask();
        if (this.#end === end) body ? arm() : end('lost');
      };
      try {
        const url = new URL(link.replace('{client_id}', `page-${Math.random().toString(36).slice(2)}`), this.base);
        if (way === 'socket') url.protocol = url.protocol.replace('http', 'ws');
        source = way === 'socket' ? new WebSocket(url) : new EventSource(url);
        source.onopen = () => this.note(`${way}: open`);
        source.onmessage = ({ data }) => {
          this.#tell(JSON.parse(data));
          events++;
          arm();
          if (settled(this.body)) end('settled');
        };
        source.onerror = source.onclose = () => end('broken');
        arm();
      } catch (error) {
        end(error.name);
      }
    });
  }

  #pause(ms) {
    return new Promise((done) => {
      this.#wake = done;
      setTimeout(done, ms * (1 + Math.random() / 2));
    });
  }
}

function settle(src, names, signal, orFailed) {
  return new Promise((resolve, reject) => {
    let leave;
    const end = (act, value) => (leave(), act(value));
    if (signal?.aborted) return reject(signal.reason);
    signal?.addEventListener('abort', () => end(reject, signal.reason));
    leave = Follower.join(src, {
      live: true,
      lost() {},
      news(body) {
        const { phase } = judge(body, names);
        if (phase === 'ready') end(resolve, body);
        else if (orFailed && phase === 'error') end(resolve, null);
      },
    });
  });
}

/** Resolve with the ready body; a failure keeps it waiting. */
export const whenReady = (src = '/api/ready', { components, signal } = {}) => settle(src, list(components), signal);

const replaying = new Set();

function replay(overlay, on) {
  replaying[on ? 'add' : 'delete'](overlay);
  if (on && !pristine) [pristine, globalThis.fetch] = [globalThis.fetch, replayed];
  if (!replaying.size && globalThis.fetch === replayed) [globalThis.fetch, pristine] = [pristine, null];
}

async function replayed(input, init) {
  const request = input instanceof Request ? input : null, signal = init?.signal ?? request?.signal;
  const url = address(request?.url ?? input);
  const overlay = [...replaying].find((one) => address(one.src).origin === url.origin);
  const safe = /^(GET|HEAD)$/i.test(init?.method ?? request?.method ?? 'GET')
    || new Headers(init?.headers ?? request?.headers).has('Idempotency-Key');
  const asksItself = /\/(ready|startup)z?\b/.test(url.pathname);
  if (!overlay || !safe || asksItself || init?.body instanceof ReadableStream) return send(input, init);
  for (let left = REPLAYS; ; left--) {
    const answer = await send(request?.clone() ?? input, init);
    const wait = answer.headers.get('Retry-After');
    if (!left || ![425, 503].includes(answer.status) || !wait || !(await overlay.untilReady(wait, signal))) return answer;
    await answer.text();
  }
}

const CSS = `:host{color-scheme:light dark;display:block;text-align:start;
--fg:var(--glowplug-color,light-dark(#211d1a,#f6f4f1));--bg:var(--glowplug-background,light-dark(#fff,#1d1b19));
--mute:var(--glowplug-muted,color-mix(in srgb,var(--fg) 72%,var(--bg)));
--line:var(--glowplug-border,color-mix(in srgb,var(--fg) 12%,var(--bg)));--glow:var(--glowplug-accent,light-dark(#c8560b,#ffa94d));
--ok:var(--glowplug-success,light-dark(#15733b,#6ee7a0));--bad:var(--glowplug-error,light-dark(#b3261e,#ff9b90));
--round:var(--glowplug-radius,16px);color:var(--fg);
font:15px/1.45 var(--glowplug-font,system-ui,sans-serif)}
:host([theme=light]){color-scheme:light}
:host([theme=dark]){color-scheme:dark}
:host([mode=banner]){position:sticky;top:0;z-index:var(--glowplug-z-index,1000)}
:host([hidden]),[hidden]{display:none!important}
*{box-sizing:border-box;margin:0}
.frame{outline:0;transition:opacity ${FADE}ms}
.leaving{opacity:0}
dialog{border:0;padding:24px 16px;width:100%;height:100%;max-width:none;max-height:none;overflow:auto;
color:inherit;background:var(--glowplug-backdrop,light-dark(#f7f4f0e6,#121110e0));backdrop-filter:blur(10px)}
dialog[open]{display:grid;align-items:center}
.panel{display:grid;gap:14px;padding:22px min(24px,5vw);width:100%;max-width:var(--glowplug-width,30rem);margin-inline:auto;
background:var(--bg);border:1px solid var(--line);border-radius:var(--round);overflow-wrap:anywhere;
box-shadow:var(--glowplug-shadow,0 12px 32px #2a1a0a1f)}
header,.works{display:flex;gap:14px;align-items:start}
header div{flex:1;min-width:0}
.title{font-size:17px;font-weight:600;line-height:24px}
.message,.times,.detail,.status,.model,.optional{color:var(--mute)}
.mark{flex:none;height:24px;border-radius:50%;color:var(--glow)}
.glowing{animation:glow 2.4s ease-in-out infinite}
@keyframes glow{50%{box-shadow:0 0 18px 3px color-mix(in srgb,currentColor 45%,transparent)}}
svg{display:block;width:24px;padding:1.5px;fill:none;stroke:currentColor;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.bar{forced-color-adjust:none;height:8px;border-radius:4px;background:var(--line);overflow:hidden}
.fill{height:100%;border-radius:4px;background:linear-gradient(90deg,var(--glow),color-mix(in srgb,var(--glow) 62%,#fc9));
transition:width .6s}
.unknown .fill{width:36%;animation:slide 1.8s ease-in-out infinite alternate}
@keyframes slide{to{margin-inline-start:64%}}
.stale .fill{filter:grayscale(1)}
.stale :is(.fill,.eta,.list){opacity:.55}
.times{display:flex;flex-wrap:wrap;gap:2px 16px;justify-content:space-between;margin-top:-6px}
.times,.status,.detail,.model,.optional{font-size:13.5px;font-variant-numeric:tabular-nums}
.eta{color:var(--fg)}
.list{display:grid;gap:12px;list-style:none;padding:16px 0 0;border-top:1px solid var(--line)}
.row{display:grid;grid-template-columns:24px 1fr auto;column-gap:14px;line-height:24px}
.tick{color:var(--mute);height:24px}
.run{color:var(--glow);animation:turn 1.1s linear infinite}
@keyframes turn{to{rotate:1turn}}
.label{font-weight:600}
.label,.model,.optional{display:inline-block;margin-inline-end:8px}
.detail{grid-column:2/-1;line-height:20px}
.ok{color:var(--ok)}
.bad{color:var(--bad)}
.failing .message{color:var(--fg)}
.actions{display:flex;flex-wrap:wrap;gap:10px}
button{font:inherit;font-weight:600;color:var(--fg);min-height:44px;min-width:44px;padding:0 18px;cursor:pointer;
border:1px solid color-mix(in srgb,currentColor 28%,transparent);border-radius:calc(var(--round)*.625);background:none}
button:hover{background:color-mix(in srgb,currentColor 8%,transparent)}
button:focus-visible{outline:3px solid var(--glow);outline-offset:2px}
.retry,.retry:hover{background:var(--fg);color:var(--bg)}
[aria-disabled=true]{opacity:.6}
.close{margin-block:-10px;margin-inline-end:-12px;padding:10px;border:0;color:var(--mute)}
.live{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
textarea{width:100%}
.banner{.panel{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;max-width:none;border-radius:0;border-width:0 0 1px;padding:10px 16px 14px;gap:6px 18px}
header,.bar,.actions,.note{width:100%}.title{font-size:15px}.message{font-size:14px}
.bar{order:9;height:4px;border-radius:0;margin:4px -16px -14px;width:calc(100% + 32px)}.times{order:1}.actions,.note{order:2}
.times{margin:0}.times,.list,.actions,.note{padding-inline-start:38px}
.list{display:flex;flex-wrap:wrap;gap:2px 18px;border:0;padding-block:0}.row{display:flex;column-gap:4px;font-size:14px}
.works,.status,.detail,.model,.optional{display:none}}
@media(prefers-reduced-motion:reduce){*{animation:none!important;transition:none!important}.unknown .fill{width:100%;opacity:.35}}`;

const ICONS = {
  ready: 'M4 10.5l4 4 8-9',
  loading: 'M10 3a7 7 0 1 1-7 7',
  pending: 'M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14z',
  unavailable: 'M6 10h8',
  close: 'M5.5 5.5l9 9M14.5 5.5l-9 9',
  error: 'M10 7v4M10 14v.1M10 2.5L2 17h16z',
  offline: 'M3 3l14 14M8 5a5 5 0 0 1 7 4 4 4 0 0 1 2 5M6 8a4 4 0 0 0 0 8h8',
  glow: 'M2 10h3c1 0 1-5 2.5-5s1 10 2.5 10 1-10 2.5-10 1.5 5 2.5 5h3',
};
ICONS.unreachable = ICONS.offline;
ICONS.sleeping = ICONS.draining = ICONS.unavailable;

const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);

function draw(element, name) {
  if (element.dataset.icon === name) return;
  element.dataset.icon = name;
  const [svg, path] = ['svg', 'path'].map((tag) => document.createElementNS('http://www.w3.org/2000/svg', tag));
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  element.replaceChildren(svg);
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

// `what`: tag.name; the name is class, part and key.
function make(into, what, attributes, ...children) {
  const [tag, name] = what.split('.'), element = document.createElement(tag);
  for (const [key, value] of Object.entries({ ...(name && { class: name, part: name }), ...attributes })) element.setAttribute(key, value);
  element.append(...children);
  if (name) into[name] = element;
  return element;
}

export class GlowplugOverlay extends HTMLElement {
  static strings = { en, de };
  static observedAttributes = ['src', 'components', 'mode', 'replay', 'watch'];

  headers = this.headers;
  strings = this.strings;
  #ui = {};
  #rows = {};
  #timers = {};
  #spoken = { quarter: 0 };
  #leave; #reader; #follower; #view; #began; #shown; #dismissed; #ends; #slower; #note; #retryAt; #focus; #listed;

  connectedCallback() {
    if (!this.shadowRoot) this.attachShadow({ mode: 'open' }).adoptedStyleSheets = [sheet];
    this.#build();
    if (this.hasAttribute('replay')) replay(this, true);
    this.#follow();
  }

  disconnectedCallback() {
    this.#hide();
    this.#stop();
    replay(this, false);
  }

  attributeChangedCallback(name, old, value) {
    if (!this.#reader || old === value || !this.isConnected) return;
    this.disconnectedCallback();
    this.connectedCallback();
  }

  get components() { return list(this.getAttribute('components')); }
  set components(value) { this.setAttribute('components', value); }
  get snapshot() { return this.#follower?.body; }
  get state() { return this.getAttribute('state'); }

  /** Ask now. */
  refresh() {
    if (this.#leave) this.#follower?.poke();
    else if (this.isConnected) this.#follow();
  }

  /** Hide until it fails, or is not ready once more. */
  dismiss() {
    this.#dismissed = true;
    this.#hide();
  }

  async untilReady(seconds, signal) {
    const began = moment();
    this.refresh();
    if (!(await settle(this.src, this.components, signal, true))) return false;
    if (msSince(began) < ASK) await new Promise((resolve, reject) => {
      setTimeout(resolve, 1000 * Math.min(30, Number(seconds) || 0));
      signal?.addEventListener('abort', () => reject(signal.reason));
    });
    return true;
  }

  #follow() {
    this.#stop();
    this.#view = this.#follower = null;
    this.#reader = { news: (...news) => this.#news(...news), lost: (follower) => this.#lost(follower) };
    this.#expect();
    this.#timers.tick = setInterval(() => this.#render(), 1000);
    this.#leave = Follower.join(this.src, this.#reader);
  }

  #stop() {
    this.#leave?.();
    this.#leave = null;
    Object.values(this.#timers).forEach(clearTimeout);
  }

  #expect() {
    this.#reader.live = true;
    this.#dismissed = false;
    this.#began = moment();
    this.#timers.delay = setTimeout(() => this.#show(), this.delay);
  }

  #lost(follower) {
    this.#follower = follower;
    if (!this.#reader.live) this.#expect();
    this.#render();
  }

  #news(body, follower) {
    const before = this.#view?.phase, view = this.#view = judge(body, this.components), error = view.phase === 'error';
    this.#follower = follower;
    if (view.phase === 'ready') return this.#arrived(body);
    if (!this.#reader.live) {
      this.#expect();
      follower.poke();
    }
    this.#promise(view);
    if (!error) this.#note = '';
    this.#say('progress', { progress: view.progress, phase: view.phase, snapshot: body });
    if (error && before !== 'error') {
      this.#say('failed', { message: view.message, snapshot: body });
      if (this.#dismissed) {
        this.#dismissed = false;
        this.#show();
      }
    }
    this.#render();
  }

  #arrived(body) {
    if (!this.#reader.live) return;
    this.#reader.live = false;
    this.#ends = this.#slower = this.#note = null;
    clearTimeout(this.#timers.delay);
    this.#render();
    if (this.#shown) this.#timers.end = setTimeout(() => {
      this.#ui.frame.classList.add('leaving');
      this.#timers.end = setTimeout(() => this.#hide(), FADE);
    }, FAREWELL);
    if (!this.hasAttribute('watch')) {
      this.#leave();
      this.#leave = null;
      clearInterval(this.#timers.tick);
    }
    this.#say('ready', { snapshot: body });
  }

  #say(name, detail, cancelable) {
    return this.dispatchEvent(new CustomEvent(name, { detail, cancelable }));
  }

  // A promise is taken back only with words that say so.
  #promise({ low, high, phase }) {
    if (phase === 'error') this.#ends = this.#slower = null;
    else if (low != null) {
      const now = performance.now(), old = this.#ends;
      const next = [low, Math.max(low, high ?? 0)].map((seconds) => now + seconds * 1000);
      const later = old && next.some((end, at) => end - old[at] > Math.max(2000, 0.15 * (old[at] - now)));
      if (later) this.#slower ??= old[1];
      this.#ends = old && !later ? next.map((end, at) => Math.min(end, old[at])) : next;
      if (this.#overrun || this.#ends[1] <= this.#slower) this.#slower = null;
    }
  }

  get #overrun() { return /^longer than usual/i.test(this.#view?.message); }

  #build() {
    const ui = this.#ui = {}, blocking = this.mode === 'blocking', el = make.bind(null, ui);
    // The dialog takes the focus, so that it is read aloud.
    const roles = { class: `frame ${this.mode}`, 'aria-labelledby': 'title', 'aria-describedby': 'message', hidden: '', tabindex: -1 };
    el(blocking ? 'dialog.frame' : 'section.frame', blocking ? { ...roles, autofocus: '' } : roles,
      el('div.panel', {},
        el('header', {}, el('span.mark'),
          el('div', {}, el('p', { id: 'title', class: 'title' }, el('slot', { name: 'title' }, el('span.title', { class: '' }))),
            el('p.message', { id: 'message' })),
          el('button.close')),
        el('div.bar', { role: 'progressbar' }, el('div.fill')),
        el('p.times', {}, el('span', {}, el('span.percent'), el('span.elapsed')), el('span.eta')),
        el('ul.list'),
        el('p.works', { class: 'works ok' }, el('span.sign'), el('span.names')),
        el('slot', { name: 'while-waiting' }),
        el('slot.error', { name: 'error' }),
        el('p.note'),
        el('div.actions', {}, el('button.retry'), el('button.copy'), el('slot', { name: 'actions' })),
        el('textarea.report', { readonly: '', hidden: '' })));
    el('div.live', { role: 'status' });
    draw(ui.close, 'close');
    draw(ui.sign, 'ready');
    ui.close.onclick = () => this.dismiss();
    ui.retry.onclick = () => this.#retry();
    ui.copy.onclick = () => this.#copy();
    ui.frame.oncancel = (event) => event.preventDefault();
    this.#listed = null;
    this.shadowRoot.replaceChildren(ui.frame, ui.live);
  }

  #show() {
    if (this.#shown || this.#dismissed || !this.#reader.live) return;
    const { frame, panel, live } = this.#ui;
    this.#shown = true;
    frame.classList.remove('leaving');
    frame.hidden = false;
    this.#render();
    if (this.mode !== 'blocking') return;
    this.#focus = document.activeElement;
    frame.showModal();
    panel.append(live);
  }

  #hide() {
    clearTimeout(this.#timers.end);
    if (!this.#shown) return;
    const { frame, live } = this.#ui;
    this.#shown = false;
    frame.hidden = true;
    this.shadowRoot.append(live);
    frame.close?.();
    this.#focus?.focus({ preventScroll: true });
    this.#focus = null;
  }

  get #words() {
    const tag = this.lang || this.closest('[lang]')?.lang || 'en', all = GlowplugOverlay.strings;
    const layers = [en, all[tag] ?? all[tag.split('-')[0]], this.strings], words = Object.assign({ tag }, ...layers);
    for (const group of ['status', 'hints', 'server']) words[group] = Object.assign({}, ...layers.map((layer) => layer?.[group]));
    return words;
  }

  #render() {
    const ui = this.#ui, view = this.#view, words = this.#words, trouble = this.#follower?.trouble;
    const phase = trouble?.kind ?? view?.phase ?? 'connecting', error = phase === 'error', ready = phase === 'ready';
    const age = view ? msSince(this.#follower.heard) : 0, held = this.shadowRoot.activeElement;
    if (this.state !== phase) this.setAttribute('state', phase);
    if (!this.#shown) return;
    ui.panel.lang = words.tag;
    ui.panel.classList.toggle('failing', error);
    ui.panel.classList.toggle('stale', age > STALE);
    ui.mark.className = `mark ${error ? 'bad' : ready ? 'ok' : ICONS[phase] && phase !== 'loading' ? '' : 'glowing'}`;
    draw(ui.mark, ICONS[phase] && phase !== 'loading' ? phase : 'glow');
    put(ui.title, words[phase]);
    const message = this.#message(words, phase, age);
    put(ui.message, message === words[phase] ? '' : message);
    this.#renderBar(words, phase, age);
    this.#renderRows(words, view?.rows ?? []);
    const wait = (this.#retryAt - performance.now()) / 1000;
    ui.close.hidden = this.mode === 'blocking' || ready;
    ui.close.ariaLabel = words.hide;
    ui.retry.hidden = !trouble && !(error && this.snapshot.links?.retry);
    ui.retry.textContent = trouble ? words.now : words.retry;
    ui.retry.ariaDisabled = String(!trouble && (wait > 0 || this.#note === '…'));
    ui.copy.hidden = !(trouble || error || this.#overrun);
    ui.copy.textContent = ui.copy.dataset.done ? words.copied : words.copy;
    ui.error.hidden = !error;
    ui.times.hidden = error;
    ui.actions.hidden = ui.retry.hidden && ui.copy.hidden && !this.querySelector('[slot=actions]');
    // Else the keyboard is lost.
    if (held?.closest('[hidden]')) ui.frame.focus({ preventScroll: true });
    put(ui.note, error && wait > 0 ? fill(words.soon, duration(wait + 1)) : this.#note ?? '');
    this.#announce(words, phase);
  }

  #message(words, phase, age) {
    const { trouble } = this.#follower ?? {}, view = this.#view;
    if (trouble) return `${words.trying} ${view ? fill(words.heard, duration(age / 1000)) : `(${trouble.why})`}`;
    if (!view || phase === 'ready') return '';
    const row = view.rows.find((one) => !one.ready && one.message), said = translated(view.message, words.server);
    if (!row || phase === 'error' || this.#overrun || (said && this.mode !== 'banner')) return said;
    return `${row.label}: ${translated(row.message, words.server)}`;
  }

  #renderBar(words, phase, age) {
    const ui = this.#ui, { progress, elapsed } = this.#view ?? {}, percent = Math.floor(progress), known = progress > 0;
    const over = phase === 'ready' || phase === 'error', loads = elapsed != null && !over && !this.#follower.trouble;
    ui.bar.hidden = phase === 'error';
    ui.bar.classList.toggle('unknown', !known);
    ui.bar.ariaLabel = words.bar;
    ui.bar.ariaValueNow = known ? percent : null;
    ui.fill.style.inlineSize = known ? `${percent}%` : '';
    put(ui.percent, known ? `${percent} % · ` : '');
    const seconds = loads ? elapsed + age / 1000 : msSince(this.#began) / 1000;
    put(ui.elapsed, phase === 'ready' ? words.ready : fill(loads ? words.elapsed : words.waiting, duration(seconds)));
    put(ui.eta, over ? '' : this.#eta(words, age));
  }

  #eta(words, age) {
    if (!this.#ends || this.#view?.low == null || this.#overrun) return '';
    const now = performance.now() - Math.max(0, age - STALE), [low, high] = this.#ends.map((end) => (end - now) / 1000);
    if (high <= 0) return words.longer;
    const text = low > 0 ? fill(words.about, range(low, high)) : fill(words.under, range(high, high));
    return this.#slower ? `${words.slower} ${text}` : text;
  }

  #renderRows(words, rows) {
    const { list, works, names } = this.#ui, usable = rows.filter((row) => row.ready);
    list.hidden = !rows.length;
    list.ariaLabel = words.list;
    const key = rows.map((row) => row.name).join();
    if (this.#listed !== key) {
      this.#listed = key;
      this.#rows = {};
      list.replaceChildren();
    }
    for (const row of rows) this.#renderRow(words, row);
    works.hidden = !usable.length || usable.length === rows.length || this.#view.phase === 'ready';
    put(names, fill(words.works, new Intl.ListFormat(words.tag).format(usable.map((row) => row.label))));
  }

  #renderRow(words, row) {
    let ui = this.#rows[row.name];
    if (!ui) {
      ui = this.#rows[row.name] = {};
      const el = make.bind(null, ui);
      this.#ui.list.append(el('li.row', {}, el('span.tick'),
        el('span', {}, el('span.label'), el('span.model'), el('span.optional')), el('span.status'), el('span.detail')));
    }
    const runs = !ICONS[row.status] || row.status === 'loading', said = (text) => translated(text, words.server);
    ui.tick.className = `tick ${runs ? 'run' : row.ready ? 'ok' : row.status === 'error' ? 'bad' : ''}`;
    draw(ui.tick, runs ? 'loading' : row.status);
    put(ui.label, row.label);
    put(ui.model, row.model ?? '');
    put(ui.optional, row.required === false ? words.optional : '');
    const hint = words.hints[row.error_class ?? row.reason], { status, reason } = row;
    put(ui.status, (status === 'unavailable' && hint || words.status[status]) + (runs && row.progress > 0 ? ` · ${row.progress} %` : ''));
    put(ui.detail, row.ready ? '' : row.unknown ? words.unknown : status === 'error' ? (row.required && hint) || said(row.error)
      : reason ? status === 'pending' ? fill(words.again, reason) : hint ? '' : reason : said(row.message));
  }

  #announce(words, phase) {
    const spoken = this.#spoken, quarter = Math.floor(this.#view?.progress / 25) || 0;
    if (phase === spoken.phase && quarter <= spoken.quarter) return;
    [spoken.phase, spoken.quarter] = [phase, quarter];
    spoken.text = words[phase];
    if (phase === 'error') spoken.text += `. ${translated(this.#view.message, words.server)}`;
    else if (quarter && !this.#follower.trouble && phase !== 'ready') spoken.text += `, ${quarter * 25} %`;
    spoken.timer ??= setTimeout(() => {
      spoken.timer = null;
      spoken.at = moment();
      this.#ui.live.textContent = spoken.text;
    }, spoken.at ? ANNOUNCE - msSince(spoken.at) : 0);
  }

  async #retry() {
    const follower = this.#follower, { snapshot } = this, words = this.#words;
    if (follower.trouble) return follower.poke();
    if (this.#ui.retry.ariaDisabled === 'true') return;
    const components = this.components.filter((name) => failed(snapshot.services[name] ?? {}));
    if (!this.#say('retry', { components, snapshot }, true)) return;
    this.#note = '…';
    this.#render();
    let note = '';
    for (const name of components.length ? components : ['']) {
      const link = snapshot.links.retry + (name && `/${encodeURIComponent(name)}`);
      note ||= await this.#order(new URL(link, follower.base), words).catch(() => words.unreachable);
    }
    this.#note = note;
    follower.poke();
    this.#render();
  }

  async #order(url, words) {
    const headers = typeof this.headers === 'function' ? await this.headers() : this.headers;
    const { ok, status, headers: told } = await send(url, { method: 'POST', headers: headers ?? {} });
    this.#follower.note(`retry: ${status}`);
    if (status === 429) this.#retryAt = performance.now() + 1000 * (told.get('Retry-After') || 5);
    if (ok || status === 429 || status === 409) return '';
    if (status === 401 || status === 403) return words.token;
    return `${words.status.error} (${status})`;
  }

  get report() {
    const { body, heard, trouble, log, url } = this.#follower ?? {};
    return JSON.stringify({
      taken_at: new Date(), page: location.origin + location.pathname, readiness: url, state: this.state,
      browser: navigator.userAgent, heard_seconds_ago: heard && msSince(heard) / 1000, trouble,
      snapshot: body, connection: log,
    }, null, 2);
  }

  async #copy() {
    const { report, copy } = this.#ui;
    report.value = this.report;
    try {
      await navigator.clipboard.writeText(report.value);
    } catch {
      report.hidden = false;
      report.select();
      if (!document.execCommand('copy')) return;
      report.hidden = true;
      copy.focus();
    }
    copy.dataset.done = 1;
    setTimeout(() => (delete copy.dataset.done, this.#render()), 2000);
    this.#render();
  }
}

for (const [name, usual] of Object.entries({ src: '/api/ready', mode: 'card', delay: 400 })) {
  Object.defineProperty(GlowplugOverlay.prototype, name, {
    get() { return this.getAttribute(name) || usual; },
    set(value) { this.setAttribute(name, value); },
  });
}

if (!customElements.get('glowplug-overlay')) customElements.define('glowplug-overlay', GlowplugOverlay);
