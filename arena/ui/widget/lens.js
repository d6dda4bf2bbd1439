// Zoom and pan, the same in every pane. Put before battle.js by battle_widget.py: one component, one module.

const DEEPEST = 32; // times the size at which the whole picture fits

// One lens for all panes: `zoom` is relative to the size at which the whole picture fits, `x` and `y` are the picture's
// point in the middle of the pane, as shares of its width and height.
class Lens {
  constructor(stage, onChange) {
    this.stage = stage;
    this.onChange = onChange;
    this.fingers = new Map();
    this.reset();
    for (const view of stage.querySelectorAll(".view")) this.listen(view);
  }

  reset() {
    Object.assign(this, { zoom: 1, x: 0.5, y: 0.5 });
  }

  listen(view) {
    view.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.closer(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), view, event);
    }, { passive: false });
    view.addEventListener("dblclick", (event) => this.step(view, event));
    view.addEventListener("pointerdown", (event) => {
      this.fingers.set(event.pointerId, event);
      if (this.zoom > 1 || this.fingers.size > 1) view.setPointerCapture(event.pointerId);
      view.classList.add("held");
    });
    view.addEventListener("pointermove", (event) => this.move(view, event));
    for (const name of ["pointerup", "pointercancel"]) {
      view.addEventListener(name, (event) => {
        this.fingers.delete(event.pointerId);
        view.classList.remove("held");
      });
    }
  }

  move(view, event) {
    const last = this.fingers.get(event.pointerId);
    if (!last) return;
    const other = [...this.fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    if (other) {
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      this.closer(apart(event) / apart(last), view, other);
    } else if (this.zoom > 1) {
      this.shift(view, last.clientX - event.clientX, last.clientY - event.clientY);
    }
    this.fingers.set(event.pointerId, event);
  }

  // The scale at which the whole picture is in the pane. Near the picture's own size it is exactly that, and small
  // pictures grow by a whole factor: pixels are what is judged.
  fit(view) {
    const [width, height] = size(view.firstElementChild);
    const scale = Math.min(view.clientWidth / width, view.clientHeight / height) * devicePixelRatio;
    const whole = scale >= 2 ? Math.floor(scale) : scale >= 1 && scale < 1.25 ? 1 : scale;
    return whole / devicePixelRatio;
  }

  shift(view, dx, dy) {
    const [width, height] = size(view.firstElementChild);
    const scale = this.fit(view) * this.zoom;
    this.x += dx / (width * scale);
    this.y += dy / (height * scale);
    this.draw();
  }

  // Enlarge by a factor; the point of the picture under the pointer stays where it is.
  closer(factor, view, at) {
    if (!ready(view)) return;
    const before = this.zoom;
    this.zoom = Math.min(DEEPEST, Math.max(1, before * factor));
    if (at) {
      const box = view.getBoundingClientRect();
      const [width, height] = size(view.firstElementChild);
      const gain = (1 / before - 1 / this.zoom) / this.fit(view);
      this.x += ((at.clientX - box.left - box.width / 2) * gain) / width;
      this.y += ((at.clientY - box.top - box.height / 2) * gain) / height;
    }
    this.draw();
  }

  // The size at which a pixel of the picture is one of the screen; the next whole step when that is not an enlargement.
  real(view) {
    return 1 / (this.fit(view) * devicePixelRatio);
  }

  step(view, at) {
    if (!ready(view)) return;
    const real = this.real(view);
    const steps = real > 1.05 ? [1, real, 2 * real] : [1, 2, 4];
    const next = steps.find((zoom) => zoom > this.zoom * 1.02) ?? 1;
    this.closer(next / this.zoom, view, at);
  }

  draw() {
    const half = 0.5 / this.zoom;
    const held = (share, reach) => Math.min(1 - reach, Math.max(reach, share));
    for (const view of this.stage.querySelectorAll(".view")) {
      const picture = view.firstElementChild;
      if (!ready(view)) continue;
      const [width, height] = size(picture);
      const scale = this.fit(view) * this.zoom;
      const reach = (length, room) => Math.min(0.5, room / (2 * length * scale));
      if (!view.closest(".s")) {
        this.x = held(this.x, reach(width, view.clientWidth) || half);
        this.y = held(this.y, reach(height, view.clientHeight) || half);
      }
      const left = view.clientWidth / 2 - held(this.x, reach(width, view.clientWidth)) * width * scale;
      const top = view.clientHeight / 2 - held(this.y, reach(height, view.clientHeight)) * height * scale;
      for (const layer of view.querySelectorAll("img, video")) {
        layer.style.width = `${width}px`;
        layer.style.height = `${height}px`;
        layer.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
      }
      picture.classList.toggle("sharp", scale * devicePixelRatio >= 1.99);
      view.classList.toggle("closer", this.zoom > 1);
    }
    this.onChange();
  }
}

function size(picture) {
  return picture.tagName === "VIDEO"
    ? [picture.videoWidth, picture.videoHeight]
    : [picture.naturalWidth, picture.naturalHeight];
}

function ready(view) {
  const picture = view.firstElementChild;
  return picture !== null && /^(IMG|VIDEO)$/.test(picture.tagName) && size(picture)[0] > 0;
}
