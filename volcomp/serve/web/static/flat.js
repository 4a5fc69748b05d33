// Slices on a plain canvas, one at a time: radiographs larger than a texture, and series larger than a browser holds.

import { bounds, host, keysHelp, make, numbers, placeOf, readout, short, windowButtons, windowOf } from "./common.js";

const KEPT = 8; // slices
const MOST = 32; // pixels of the screen for one of the image

export class Flat {
  constructor(layout) {
    this.layout = layout;
    [this.depth, this.rows, this.columns] = layout.shape;
    this.tall = layout.spacing[1] / layout.spacing[2]; // height of a pixel by its width
    this.z = Number(host.dataset.z);
    this.at = [Math.floor(this.columns / 2), Math.floor(this.rows / 2)];
    this.kept = new Map();
    this.window = layout.windows.find((one) => one.key === host.dataset.window) ?? layout.windows[0];
    this.image = document.createElement("canvas"); // of the slice, in grey
    this.image.width = this.columns;
    this.image.height = this.rows;
    this.pointers = new Map();
  }

  async start() {
    await this.slice(this.z); // which may fail, before anything is shown
    this.canvas = make("canvas", { "aria-label": "The image. Plus and minus zoom, arrow keys move the crosshair.", tabIndex: 0, role: "application" });
    const stage = make("div", { className: "stage" }, this.canvas);
    const [list, fields] = readout();
    this.fields = fields;
    this.windows = windowButtons(this.layout, (one) => this.choose(one));
    this.slider = make("input", { type: "range", min: 1, max: this.depth, value: this.z + 1, step: 1, id: "slider", "aria-label": "Slice" });
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value) - 1));
    this.count = make("span", { id: "count" });
    const slide = make("div", { className: "slide" }, make("span", { textContent: "Slice", "aria-hidden": "true" }), this.slider, this.count);
    slide.hidden = this.depth === 1;
    host.append(this.windows, stage, slide, list, keysHelp([
      ["Wheel", this.depth > 1 ? "next slice" : "zoom"], ["+ −", "zoom"], ["Drag", "move the image"], ["Click", "crosshair"],
      ["Arrows", "move the crosshair"], ["Page ↑ ↓", "slices"], ["1 to 9", "windows"], ["Right button", "drag to change the window"],
      ["Two fingers", "zoom"], ["R", "as at first"],
    ]));
    document.getElementById("plain").hidden = true;
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, (event) => this.up(event));
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.fit()).observe(stage);
    this.fit();
    await this.go(this.z);
    this.choose(this.window);
    host.dataset.state = "complete";
  }

  async slice(z) {
    if (!this.kept.has(z)) {
      while (this.kept.size >= KEPT) this.kept.delete(this.kept.keys().next().value);
      this.kept.set(z, numbers(this.layout, z, z + 1));
    }
    try {
      return await this.kept.get(z);
    } catch (error) {
      this.kept.delete(z);
      throw error;
    }
  }

  async go(z) {
    this.z = Math.min(Math.max(z, 0), this.depth - 1);
    this.slider.value = this.z + 1;
    this.count.textContent = `${this.z + 1} of ${this.depth}`;
    const wanted = this.z;
    const data = await this.slice(wanted);
    if (wanted !== this.z) return; // another one was asked for meanwhile
    this.data = data;
    this.paint();
    this.located();
  }

  // --- Windows

  choose(one) {
    this.window = one;
    this.paint();
  }

  // Grey levels of the slice, once for every window.
  paint() {
    if (!this.data) return;
    const one = this.window;
    if (one?.centre === null) {
      let [low, high] = [Infinity, -Infinity];
      for (const value of this.data) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      [this.low, this.high] = [low, Math.max(high, low + 1e-6)];
    } else if (one) [this.low, this.high] = bounds(one.centre, one.width);
    const context = this.image.getContext("2d");
    const pixels = context.createImageData(this.columns, this.rows);
    const grey = new Uint32Array(pixels.data.buffer);
    const scale = 255 / (this.high - this.low);
    const flip = this.layout.inverted ? 255 : 0;
    for (let k = 0; k < grey.length; k += 1) {
      const level = Math.min(Math.max((this.data[k] - this.low) * scale, 0), 255);
      grey[k] = 0xff000000 | (0x010101 * (Math.round(level) ^ flip));
    }
    context.putImageData(pixels, 0, 0);
    const [centre, width] = one && one.centre !== null ? [one.centre, one.width] : windowOf(this.low, this.high);
    this.fields.window.textContent = `${short(centre)}, ${short(width)}`;
    host.dataset.low = this.low;
    host.dataset.high = this.high;
    for (const button of this.windows.children) button.setAttribute("aria-pressed", String(button.dataset.window === one?.key));
    this.draw();
  }

  // --- The place of the image on the canvas, in its pixels: `zoom`, and where the image's corner lies.

  fit() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.zoom = Math.min(this.canvas.width / this.columns, this.canvas.height / (this.rows * this.tall));
    this.corner = [(this.canvas.width - this.zoom * this.columns) / 2, (this.canvas.height - this.zoom * this.rows * this.tall) / 2];
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.data) return;
    context.imageSmoothingEnabled = this.zoom < 3;
    context.imageSmoothingQuality = "high";
    const [x, y] = this.corner;
    context.drawImage(this.image, x, y, this.zoom * this.columns, this.zoom * this.rows * this.tall);
    const [i, j] = [x + (this.at[0] + 0.5) * this.zoom, y + (this.at[1] + 0.5) * this.zoom * this.tall];
    context.strokeStyle = "rgb(90, 190, 255)";
    context.beginPath();
    for (const [a, b, c, d] of [[-20, 0, -6, 0], [6, 0, 20, 0], [0, -20, 0, -6], [0, 6, 0, 20]]) {
      context.moveTo(i + a, j + b);
      context.lineTo(i + c, j + d);
    }
    context.stroke();
  }

  enlarge(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const least = Math.min(this.canvas.width / this.columns, this.canvas.height / (this.rows * this.tall)) / 2;
    const zoom = Math.min(Math.max(this.zoom * factor, least), MOST);
    this.corner = [x - (x - this.corner[0]) * (zoom / this.zoom), y - (y - this.corner[1]) * (zoom / this.zoom)];
    this.zoom = zoom;
    host.dataset.zoom = zoom;
    this.draw();
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * (this.canvas.width / box.width), (event.clientY - box.top) * (this.canvas.height / box.height)];
  }

  cross(i, j) {
    this.at = [Math.min(Math.max(i, 0), this.columns - 1), Math.min(Math.max(j, 0), this.rows - 1)];
    this.draw();
    this.located();
  }

  located() {
    const [i, j] = this.at;
    const value = this.data[j * this.columns + i];
    this.fields.value.textContent = `${short(value, 7)} ${this.layout.unit}`;
    this.fields.voxel.textContent = `${i}, ${j}, ${this.z}`;
    this.fields.where.textContent = placeOf(this.layout, i, j, this.z);
    host.dataset.voxel = [i, j, this.z].join();
    host.dataset.value = value;
  }

  // --- What hands do

  wheel(event) {
    event.preventDefault();
    if (this.depth > 1 && !event.ctrlKey) this.go(this.z + Math.sign(event.deltaY));
    else this.enlarge(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...this.point(event));
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.point(event));
    this.moved = 0;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.point(event);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    this.moved += Math.abs(dx) + Math.abs(dy);
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const far = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
      this.enlarge(far(now) / Math.max(far(before), 1), ...other);
    } else if (event.buttons === 2) {
      const [centre, width] = windowOf(this.low, this.high);
      const step = Math.max((this.high - this.low) / 400, 1e-3);
      this.window = { key: "own", centre: centre + dy * step, width: Math.max(width + 2 * dx * step, 1) };
      this.paint();
    } else {
      this.corner = [this.corner[0] + dx, this.corner[1] + dy];
      this.draw();
    }
    this.pointers.set(event.pointerId, now);
  }

  up(event) {
    if (this.pointers.delete(event.pointerId) && this.moved < 6 && event.type === "pointerup" && event.button === 0) {
      const [x, y] = this.point(event);
      this.cross(Math.floor((x - this.corner[0]) / this.zoom), Math.floor((y - this.corner[1]) / (this.zoom * this.tall)));
    }
  }

  key(event) {
    if (event.key === "Tab" || event.ctrlKey || event.metaKey || event.altKey) return;
    const [i, j] = this.at;
    const far = event.shiftKey ? 10 : 1;
    const crosses = { ArrowLeft: [i - far, j], ArrowRight: [i + far, j], ArrowUp: [i, j - far], ArrowDown: [i, j + far] };
    const slices = { PageUp: this.z - 1, PageDown: this.z + 1, Home: 0, End: this.depth - 1 };
    if (event.key in crosses) this.cross(...crosses[event.key]);
    else if (event.key in slices) this.go(slices[event.key]);
    else if (event.key === "+" || event.key === "=") this.enlarge(1.25);
    else if (event.key === "-") this.enlarge(0.8);
    else if (/^[1-9]$/.test(event.key) && this.layout.windows[event.key - 1]) this.choose(this.layout.windows[event.key - 1]);
    else if (event.key.toLowerCase() === "r") {
      this.choose(this.layout.windows[0]);
      this.fit();
    } else return;
    event.preventDefault();
  }
}
