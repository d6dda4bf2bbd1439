// The battle's instrument: two pictures or videos under one lens, a vote that can only be meant, and the names after it.
// Nothing here knows a name before the server sends it. Text is only ever set as text. Media are fetched once, kept as
// blobs, and may be fetched ahead of their battle; a preloaded battle then appears in one paint.

const SIDES = ["a", "b"];
const VOTES = { a: "model_a", b: "model_b", t: "tie", x: "both_bad" };
const ACTIONS = { s: "skip", u: "undo", n: "next" };
const KEPT = 8; // media in memory: this battle's, the next one's, the last one's
const LOST_MS = 8000; // no answer from the server for so long: the buttons come back

const media = new Map(); // address -> promise of { url, kind }; lives as long as the page

function fetched(address) {
  if (!media.has(address)) {
    const coming = fetch(address, { credentials: "same-origin" }).then(async (answer) => {
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const blob = await answer.blob();
      return { url: URL.createObjectURL(blob), kind: blob.type.startsWith("video/") ? "video" : "img" };
    });
    media.set(address, coming);
    coming.catch(() => media.delete(address)); // it may be asked for again
    for (const old of [...media.keys()].slice(0, Math.max(0, media.size - KEPT))) {
      media.get(old).then((kept) => URL.revokeObjectURL(kept.url), () => {});
      media.delete(old);
    }
  }
  return media.get(address);
}

function el(name, words, className) {
  const node = document.createElement(name);
  if (words !== undefined) node.textContent = words;
  if (className) node.className = className;
  return node;
}

class Battle {
  constructor(root, send) {
    this.root = root;
    this.send = send;
    this.find = (selector) => root.querySelector(selector);
    this.stage = this.find(".stage");
    this.lens = new Lens(this.stage, () => this.showScale());
    this.quit = new AbortController();
    const { signal } = this.quit;
    document.addEventListener("keydown", (event) => this.onKey(event), { signal });
    window.addEventListener("resize", () => this.layOut(), { signal });
    root.querySelectorAll("[data-act]").forEach((button) => (button.onclick = () => this.act(button.dataset.act)));
    root.querySelectorAll("[data-look]").forEach((button) => (button.onclick = () => this.look(button.dataset.look)));
    root.querySelectorAll("[data-zoom]").forEach((button) => (button.onclick = () => this.zoomTo(button.dataset.zoom)));
    this.find("[data-unveil]").onclick = () => this.unveil();
    this.stage.addEventListener("click", (event) => this.veiled && (event.stopPropagation(), this.unveil()), { capture: true, signal });
    this.find(".mask").onclick = () => this.showMask(!this.stage.classList.contains("masked"));
    const prompt = this.find(".prompt");
    prompt.onscroll = () => this.hintAtMore(prompt);
    const wipe = this.find(".wipe input");
    wipe.oninput = () => this.stage.style.setProperty("--wipe", `${wipe.value}%`);
  }

  // Show what the server says. A battle that is new here starts from nothing; another word on the same one is an update.
  update(data, send) {
    this.send = send;
    const fresh = this.data?.battle !== data.battle;
    this.data = data;
    if (fresh) this.start();
    if (data.turn !== this.turn) this.sent = null; // the server has answered: what was pressed is done, or refused
    this.turn = data.turn;
    this.find(".question").textContent = data.question;
    this.find(".prompt").textContent = data.prompt;
    this.find(".notice").textContent = data.notice;
    this.find("[data-look=difference]").disabled = !data.same_size;
    this.drawReveal(data.reveal);
    this.gate();
    if (fresh) this.load();
    else if (data.next) data.next.forEach((address) => fetched(address).catch(() => {}));
    this.layOut();
  }

  start() {
    this.player?.end();
    this.player = null;
    Object.assign(this, { seenAt: null, sent: null, failed: false, loaded: false });
    this.veil(this.data.veiled);
    this.root.querySelector(".battle").dataset.battle = this.data.battle;
    this.find(".player").hidden = true;
    this.find(".pane.s").hidden = !this.data.source;
    for (const side of SIDES) this.find(`.pane.${side} figcaption`).textContent = side.toUpperCase();
    this.stage.classList.toggle("sourced", Boolean(this.data.source));
    for (const view of this.root.querySelectorAll(".view")) view.replaceChildren(el("span", "Loading…", "waiting"));
    this.find(".mask").hidden = !this.data.mask;
    this.showMask(false);
    this.lens.reset();
    this.look("side");
  }

  // The edge of the mask: always over the source, over both results when it is asked for.
  showMask(shown) {
    this.stage.classList.toggle("masked", shown);
    this.find(".mask").setAttribute("aria-pressed", String(shown));
  }

  async load() {
    const { battle, media: addresses, source } = this.data;
    const wanted = [["a", addresses[0]], ["b", addresses[1]], ...(source ? [["s", source]] : [])];
    try {
      const loaded = await Promise.all(wanted.map(([side, address]) => this.open(side, address)));
      if (this.data.battle !== battle || this.quit.signal.aborted) return;
      loaded.forEach(([side, picture]) => this.find(`.pane.${side} .view`).replaceChildren(picture)); // all at once
      this.outline(battle, loaded.map(([side]) => side));
      const videos = loaded.slice(0, 2).map(([, picture]) => picture).filter((picture) => picture.tagName === "VIDEO");
      if (videos.length) {
        this.find(".player").hidden = false;
        this.player = new Player(this.find(".player"), videos);
      }
      this.layOut();
      await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
      if (this.data.battle !== battle) return;
      this.loaded = true;
      this.see();
      this.data.next?.forEach((address) => fetched(address).catch(() => {}));
    } catch {
      if (this.data.battle !== battle) return;
      this.failed = true;
      this.find(".notice").textContent = "A picture of this battle cannot be loaded. Skip it, or reload the page.";
    }
    this.gate();
  }

  // From now on both pictures are on the screen, and nothing lies over them.
  see() {
    if (!this.loaded || this.veiled || this.seenAt !== null) return;
    this.seenAt = performance.now();
    this.root.querySelector(".battle").dataset.seen = "yes";
    setTimeout(() => this.gate(), this.data.dwell_ms + 5);
  }

  // Both sides are hidden alike, so that the veil does not say which of them was flagged.
  veil(veiled) {
    this.veiled = veiled;
    this.root.querySelector(".battle").dataset.veiled = veiled ? "yes" : "no";
    this.find(".veil").hidden = !veiled;
  }

  unveil() {
    if (!this.veiled) return;
    this.veil(false);
    this.layOut();
    this.see();
    this.gate();
  }

  // Not waited for: a vote needs no outline.
  async outline(battle, sides) {
    if (!this.data.mask) return;
    try {
      const { url } = await fetched(this.data.mask);
      for (const side of sides) {
        const edge = el("img", undefined, "outline");
        Object.assign(edge, { alt: side === "s" ? "Where the picture may change" : "", src: url, draggable: false });
        await edge.decode();
        if (this.data.battle !== battle) return;
        this.find(`.pane.${side} .view`).append(edge);
      }
      this.lens.draw();
    } catch {
      this.find(".mask").hidden = true;
    }
  }

  async open(side, address) {
    const { url, kind } = await fetched(address);
    const picture = el(kind);
    picture.draggable = false;
    const label = { a: "A", b: "B", s: "Source" }[side];
    if (kind === "img") {
      picture.alt = side === "s" ? "Source picture" : `Picture ${label}`;
      picture.src = url;
      await picture.decode();
    } else {
      picture.setAttribute("aria-label", side === "s" ? "Source video" : `Video ${label}`);
      Object.assign(picture, { muted: true, playsInline: true, preload: "auto", src: url });
      await new Promise((done, failed) => Object.assign(picture, { onloadeddata: done, onerror: failed }));
    }
    return [side, picture];
  }

  get dwell() {
    return this.seenAt === null ? 0 : performance.now() - this.seenAt;
  }

  // Which buttons mean something now. A vote does only when both sides have been on the screen for a moment.
  gate() {
    const seen = this.seenAt !== null && this.dwell >= this.data.dwell_ms;
    const revealed = Boolean(this.data.reveal);
    this.find(".choices").hidden = revealed;
    this.find(".skip").hidden = revealed;
    this.find(".onward").hidden = !revealed;
    for (const button of this.root.querySelectorAll("[data-act]")) {
      const what = button.dataset.act;
      button.disabled = !this.can(what, seen, revealed);
      button.classList.toggle("chosen", this.sent === what);
    }
  }

  can(what, seen = this.dwell >= this.data.dwell_ms && this.seenAt !== null, revealed = Boolean(this.data.reveal)) {
    if (this.sent !== null) return false;
    if (what === "next") return revealed;
    if (what === "undo") return revealed && this.undoable();
    if (what === "skip") return !revealed && (seen || this.failed || this.veiled);
    return !revealed && seen && !this.failed;
  }

  undoable() {
    return this.undoUntil !== undefined && performance.now() < this.undoUntil;
  }

  act(what) {
    if (!this.can(what)) return;
    this.sent = what;
    this.gate();
    const turn = this.turn;
    setTimeout(() => {
      if (this.turn === turn && this.sent === what) {
        this.sent = null;
        this.gate();
      }
    }, LOST_MS);
    this.send({ battle: this.data.battle, act: what, dwell_ms: Math.round(this.dwell) });
  }

  onKey(event) {
    const where = event.composedPath()[0];
    const typing = where instanceof Element && where.matches("input:not([type=range]), textarea, select, [contenteditable]");
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing) return;
    const key = event.key.toLowerCase();
    if (key === " ") {
      if (where instanceof Element && where.matches("button, summary, a, [role=button], [role=tab]")) return;
      event.preventDefault();
      this.look("flicker");
    } else if (key === "escape") this.look("side");
    else if (key === "v") this.unveil();
    else if (key === "z") this.lens.step(this.view(), null);
    else if (key === "m" && this.data.mask) this.showMask(!this.stage.classList.contains("masked"));
    else if (VOTES[key]) this.act(VOTES[key]);
    else if (ACTIONS[key]) this.act(ACTIONS[key]);
  }

  // A prompt that does not fit fades out at its lower edge.
  hintAtMore(prompt) {
    prompt.classList.toggle("more", prompt.scrollHeight - prompt.scrollTop > prompt.clientHeight + 4);
  }

  view() {
    return this.find(".pane.a .view");
  }

  // Choose a way to look; flicker again shows the other side.
  look(mode) {
    const { dataset } = this.stage;
    if (mode === "difference" && !this.data.same_size) return;
    dataset.front = mode === "flicker" && dataset.mode === "flicker" && dataset.front === "a" ? "b" : "a";
    dataset.mode = mode;
    this.find(".wipe").hidden = mode !== "slider";
    for (const button of this.root.querySelectorAll("[data-look]")) {
      button.setAttribute("aria-pressed", String(button.dataset.look === mode));
    }
    this.find("[data-look=flicker]").textContent = mode === "flicker" ? `Flicker: ${dataset.front.toUpperCase()}` : "Flicker";
    this.layOut();
  }

  zoomTo(what) {
    const view = this.view();
    if (!ready(view)) return;
    this.lens.closer((what === "fit" ? 1 : this.lens.real(view)) / this.lens.zoom, view, null);
  }

  showScale() {
    const view = this.view();
    if (!ready(view)) return;
    const scale = this.lens.fit(view) * this.lens.zoom * devicePixelRatio;
    this.find(".scale").textContent = `${Math.round(100 * scale)} %`;
    this.find("[data-zoom=fit]").setAttribute("aria-pressed", String(this.lens.zoom === 1));
    this.find("[data-zoom=real]").setAttribute("aria-pressed", String(Math.abs(scale - 1) < 0.01));
    this.find("[data-zoom=real]").disabled = this.lens.real(view) < 1; // smaller than what fits: nothing to gain
  }

  // The pictures take the height that the buttons leave on the screen. They lie side by side or one above the other,
  // whichever shows them larger.
  layOut() {
    const view = this.view();
    const [width, height] = ready(view) ? size(view.firstElementChild) : [1, 1];
    this.hintAtMore(this.find(".prompt"));
    const tallOf = (name) => (this.find(name).hidden ? 0 : this.find(name).offsetHeight + 10);
    if (!this.data.reveal || !this.choices) this.choices = tallOf(".choices") || tallOf(".onward"); // nothing moves at the reveal
    const below = this.choices + tallOf(".wipe") + tallOf(".player");
    const top = this.stage.getBoundingClientRect().top + (this.scrolled() || 0);
    const room = Math.max(180, innerHeight - top - below - 20);
    const panes = (this.stage.dataset.mode === "side" ? 2 : 1) + (this.data.source ? 1 : 0);
    const tall = (columns) => {
      const rows = Math.ceil(panes / columns);
      return Math.min(room / rows - 28, ((this.stage.clientWidth / columns - 8) * height) / width);
    };
    const columns = tall(panes) >= tall(1) ? panes : 1;
    this.stage.style.setProperty("--columns", columns);
    this.stage.classList.toggle("stacked", columns === 1);
    this.stage.style.setProperty("--height", `${Math.max(72, Math.floor(tall(columns)))}px`);
    this.lens.draw();
  }

  scrolled() {
    let node = this.root.host;
    while (node && node !== document.body) {
      if (node.scrollTop) return node.scrollTop;
      node = node.parentElement;
    }
    return scrollY;
  }

  drawReveal(reveal) {
    const box = this.find(".reveal");
    const first = box.hidden;
    box.hidden = !reveal;
    if (!reveal) return;
    this.find(".verdict").textContent = reveal.verdict;
    reveal.sides.forEach((side, n) => (this.find(`.pane.${SIDES[n]} figcaption`).textContent = `${"AB"[n]}: ${side.model}`));
    this.find(".sides").replaceChildren(...reveal.sides.map((side, n) => card(side, "AB"[n])));
    const bar = this.find(".bar");
    const known = reveal.surprise !== null;
    this.find(".surprise").hidden = !known;
    if (known) {
      bar.firstElementChild.style.width = `${100 * reveal.surprise}%`;
      bar.setAttribute("aria-label", `Surprise ${Math.round(100 * reveal.surprise)} of 100`);
      this.find(".surprise .value").textContent = reveal.surprise_words;
    }
    this.find(".lesson").textContent = reveal.lesson;
    this.find(".yours").textContent = reveal.yours;
    if (first || reveal.undo_ms === 0) this.undoUntil = performance.now() + reveal.undo_ms;
    this.find("[data-act=undo]").hidden = reveal.undo_ms === 0;
    setTimeout(() => this.data.reveal && this.gate(), reveal.undo_ms + 5);
    if (first && this.root.activeElement?.dataset?.act) {
      this.find(".onward").hidden = false;
      this.find("[data-act=next]").disabled = false;
      this.find("[data-act=next]").focus({ preventScroll: true });
    }
  }

  end() {
    this.quit.abort();
    this.player?.end();
  }
}

function card(side, letter) {
  const box = el("div", undefined, side.won ? "card won" : "card");
  const name = el("div", `${letter}: ${side.model}`, "name");
  name.dir = "auto";
  box.append(name, el("div", side.facts, "facts"));
  if (side.after !== null) {
    const line = el("div", side.after, "elo");
    const way = side.delta.startsWith("+") ? "up" : side.delta.startsWith("−") ? "down" : "same";
    line.append(" ", el("span", side.delta, way), el("small", `Elo, before ${side.before}`));
    box.append(line);
  }
  if (side.made.length) {
    const more = el("details", undefined, "made");
    const list = el("dl");
    for (const [key, value] of side.made) list.append(el("dt", key), el("dd", value));
    more.append(el("summary", "What the original file says"), list);
    box.append(more);
  }
  return box;
}

const open = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const send = (answer) => setTriggerValue("act", answer);
  if (!open.has(parentElement)) open.set(parentElement, new Battle(parentElement, send));
  const battle = open.get(parentElement);
  battle.update(data, send);
  return () => {
    battle.end();
    open.delete(parentElement);
  };
}
