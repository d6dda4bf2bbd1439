// Clips in step with what was measured of their frames. Player comes from player.js. Text is only ever set as text.

const TALL = 44; // of a plot, px
const WIDE = 1000; // of a plot, in its own units

function make(name, words, className) {
  const node = document.createElement(name);
  if (words !== undefined) node.textContent = words;
  if (className) node.className = className;
  return node;
}

// Shapes belong to the language of the empty drawing that clips.html has.
let drawing = null;

function shape(name, attributes, className) {
  const node = document.createElementNS(drawing, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (className) node.setAttribute("class", className);
  return node;
}

// When each value of a series is meant: a frame's time, or for a step the middle between its frames.
function moments(times, values) {
  return values.map((_, n) => (values.length === times.length ? times[n] : (times[n] + times[n + 1]) / 2));
}

function words(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return Math.abs(value) < 0.001 ? value.toExponential(1).replace("-", "−") : value.toPrecision(3);
}

class Plot {
  constructor(plot, tile, top, bottom, seek) {
    this.values = tile.series[plot.name] ?? [];
    this.unit = plot.unit;
    this.length = tile.times.at(-1) || 1;
    this.at = moments(tile.times, this.values);
    this.x = (time) => (WIDE * time) / this.length;
    this.y = (value) => (top > bottom ? 2 + (TALL - 4) * (1 - (value - bottom) / (top - bottom)) : TALL - 2);
    this.node = make("div");
    const row = make("div", undefined, "row");
    this.value = make("span", "", "value");
    row.append(make("span", plot.title), this.value);
    const label = `${plot.title} of ${tile.model}, frame by frame, from ${words(bottom)} to ${words(top)}`;
    this.svg = shape("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, "plot");
    this.svg.append(shape("line", { x1: 0, x2: WIDE, y1: TALL - 1, y2: TALL - 1 }, "base"));
    for (const cut of tile.cuts) this.svg.append(shape("line", { x1: this.x(cut), x2: this.x(cut), y1: 0, y2: TALL }, "cut"));
    this.svg.append(shape("path", { d: this.path() }, "line"));
    this.now = shape("line", { x1: 0, x2: 0, y1: 0, y2: TALL }, "now");
    this.svg.append(this.now);
    const point = (event) => {
      const box = this.svg.getBoundingClientRect();
      seek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * this.length);
    };
    this.svg.onpointerdown = point;
    this.svg.onpointermove = (event) => event.buttons && point(event);
    this.node.append(row, this.svg);
  }

  // Where nothing can be said, the line is broken; a value by itself is a short stroke.
  path() {
    let drawn = "";
    let pen = false;
    this.values.forEach((value, n) => {
      if (value !== null) {
        const place = `${this.x(this.at[n]).toFixed(1)} ${this.y(value).toFixed(2)}`;
        drawn += pen ? `L${place}` : `M${place}h0.1`;
      }
      pen = value !== null;
    });
    return drawn;
  }

  show(time) {
    const x = this.x(Math.min(time, this.length));
    this.now.setAttribute("x1", x);
    this.now.setAttribute("x2", x);
    let nearest = -1;
    this.at.forEach((moment, n) => {
      if (nearest < 0 || Math.abs(moment - time) < Math.abs(this.at[nearest] - time)) nearest = n;
    });
    const value = this.values[nearest];
    this.value.textContent = words(value) + (value == null ? "" : this.unit);
  }
}

class Wall {
  constructor(root) {
    this.root = root;
    this.running = true;
    drawing = root.querySelector("svg").namespaceURI;
  }

  update(data) {
    const told = JSON.stringify(data);
    if (told === this.told) return; // the page ran again, and nothing is new
    this.told = told;
    this.player?.end();
    this.tiles = data.tiles.map((tile) => this.tile(tile, data));
    this.root.querySelector(".wall").replaceChildren(...this.tiles.map(({ node }) => node));
    this.player = new Player(this.root.querySelector(".player"), this.tiles.map(({ video }) => video));
    cancelAnimationFrame(this.frame);
    this.draw();
  }

  tile(tile, data) {
    const node = make("figure", undefined, "tile");
    const video = make("video");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: tile.url });
    video.setAttribute("aria-label", `Clip of ${tile.model}`);
    video.onerror = () => video.replaceWith(make("div", "This clip cannot be shown.", "failed"));
    const name = make("figcaption", tile.model);
    name.dir = "auto";
    node.append(name, video);
    const plots = data.plots
      .filter((plot) => tile.series[plot.name])
      .map((plot) => new Plot(plot, tile, ...this.scale(plot, data.tiles), (time) => this.seek(time)));
    node.append(...plots.map((plot) => plot.node));
    if (tile.note) node.append(make("div", tile.note, "none"));
    if (data.plots.length && !plots.length) node.append(make("div", "not measured", "none"));
    return { node, video, plots };
  }

  // One scale for all clips, from zero but for brightness, whose changes would not show.
  scale(plot, tiles) {
    const all = tiles.flatMap((tile) => (tile.series[plot.name] ?? []).filter((value) => value !== null));
    const top = all.length ? Math.max(...all) : 1;
    return [top, plot.name === "brightness" ? Math.min(...all) : 0];
  }

  seek(time) {
    this.player.pause();
    this.player.seek(time);
  }

  draw() {
    if (!this.running) return;
    for (const { video, plots } of this.tiles) for (const plot of plots) plot.show(video.currentTime);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  end() {
    this.running = false;
    this.player?.end();
  }
}

const walls = new WeakMap();

export default function ({ data, parentElement }) {
  if (!walls.has(parentElement)) walls.set(parentElement, new Wall(parentElement));
  const wall = walls.get(parentElement);
  wall.update(data);
  return () => {
    wall.end();
    walls.delete(parentElement);
  };
}
