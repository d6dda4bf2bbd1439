// Two videos in step. Put before battle.js by battle_widget.py.

const SPEEDS = [1, 0.5, 0.25];

// Two videos as one: A leads, B follows within a frame; the shorter one waits on its last picture for the longer.
class Player {
  constructor(bar, videos) {
    this.bar = bar;
    this.videos = videos;
    this.speed = 1;
    this.frame = 1 / 24; // s; measured while it plays
    this.place = bar.querySelector("input");
    this.place.oninput = () => this.seek((this.place.value / 1000) * this.length);
    for (const button of bar.querySelectorAll("[data-play]")) button.onclick = () => this.press(button.dataset.play);
    for (const video of videos) Object.assign(video, { muted: true, playsInline: true, loop: false });
    this.lead = videos[0];
    this.timer = setInterval(() => this.follow(), 100);
    this.measure();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.play();
    this.show();
  }

  get length() {
    return Math.max(...this.videos.map((video) => video.duration || 0));
  }

  get playing() {
    return this.videos.some((video) => !video.paused && !video.ended);
  }

  play() {
    if (this.videos.every((video) => video.ended)) this.seek(0);
    for (const video of this.videos) if (!video.ended) video.play().catch(() => {});
  }

  pause() {
    for (const video of this.videos) video.pause();
  }

  seek(time) {
    for (const video of this.videos) video.currentTime = Math.min(time, video.duration || 0);
  }

  press(what) {
    if (what === "toggle") this.playing ? this.pause() : this.play();
    if (what === "speed") {
      this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length];
      for (const video of this.videos) video.playbackRate = this.speed;
    }
    if (what === "back" || what === "step") {
      this.pause();
      this.seek(Math.max(0, Math.min(this.length, this.lead.currentTime + (what === "step" ? 1 : -1) * this.frame)));
    }
    this.show();
  }

  measure() {
    if (!this.lead.requestVideoFrameCallback) return;
    let last = null;
    const look = (_, { mediaTime }) => {
      const step = last === null ? 0 : mediaTime - last;
      if (step > 0.004 && step < 0.25) this.frame = Math.min(this.frame, step);
      last = mediaTime;
      this.lead.requestVideoFrameCallback(look);
    };
    this.lead.requestVideoFrameCallback(look);
  }

  follow() {
    if (this.videos.every((video) => video.ended)) {
      this.seek(0);
      this.play();
    } else if (this.playing) {
      for (const video of this.videos.slice(1)) {
        const drift = video.currentTime - this.lead.currentTime;
        const together = Math.abs(drift) < this.frame || video.ended || this.lead.ended;
        if (!together && Math.abs(drift) > 4 * this.frame) video.currentTime = this.lead.currentTime;
        video.playbackRate = together ? this.speed : this.speed * (drift > 0 ? 0.9 : 1.1);
      }
    }
    this.show();
  }

  show() {
    this.bar.querySelector("[data-play=toggle]").textContent = this.playing ? "Pause" : "Play";
    this.bar.querySelector("[data-play=speed]").textContent = `${this.speed}×`;
    if (this.length) this.place.value = Math.round((1000 * Math.max(...this.videos.map((v) => v.currentTime))) / this.length);
  }

  end() {
    clearInterval(this.timer);
    this.pause();
  }
}
