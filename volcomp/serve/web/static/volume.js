// Slices in planes: niivue shows numbers of 16 bits, which come slice by slice.

import { ARRAYS, bounds, host, keysHelp, make, numbers, placeOf, readout, short, windowButtons, windowOf } from "./common.js";

const AXIAL = 0, CORONAL = 1, SAGITTAL = 2, ALL = 3;
const CODES = { int16: 4, uint16: 512, float32: 16 }; // of NIfTI
const AT_ONCE = 4 << 20; // bytes of one request

// A NIfTI-1 file in memory, whose voxels are all `fill`.
function nifti(layout, fill) {
  const [depth, rows, columns] = layout.shape;
  const kind = ARRAYS[layout.type];
  const count = depth * rows * columns;
  const buffer = new ArrayBuffer(352 + count * kind.BYTES_PER_ELEMENT);
  const head = new DataView(buffer);
  const [dz, dy, dx] = layout.spacing;
  head.setInt32(0, 348, true);
  [3, columns, rows, depth, 1, 1, 1, 1].forEach((n, i) => head.setInt16(40 + 2 * i, n, true));
  head.setInt16(70, CODES[layout.type], true);
  head.setInt16(72, 8 * kind.BYTES_PER_ELEMENT, true);
  [1, dx, dy, dz, 1, 1, 1, 1].forEach((mm, i) => head.setFloat32(76 + 4 * i, mm, true));
  head.setFloat32(108, 352, true);
  head.setFloat32(112, 1, true);
  head.setUint8(123, 2); // mm
  head.setInt16(254, 1, true); // sform
  layout.affine.slice(0, 3).forEach((row, i) => row.forEach((value, j) => head.setFloat32(280 + 16 * i + 4 * j, value, true)));
  [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => head.setUint8(344 + i, byte)); // "n+1"
  new kind(buffer, 352, count).fill(fill);
  return buffer;
}

export class Volume {
  constructor(layout) {
    this.layout = layout;
    [this.depth, this.rows, this.columns] = layout.shape;
    this.have = new Uint8Array(this.depth);
    this.low = Infinity;
    this.high = -Infinity;
    this.index = [Math.floor(this.columns / 2), Math.floor(this.rows / 2), Number(host.dataset.z)];
    // The axis of RAS that runs from slice to slice, and with it the plane in which the series was acquired.
    const across = layout.affine.slice(0, 3).map((row) => Math.abs(row[2]));
    this.acquired = [SAGITTAL, CORONAL, AXIAL][across.indexOf(Math.max(...across))];
    this.view = this.acquired;
    this.window = layout.windows.find((one) => one.key === host.dataset.window) ?? layout.windows[0];
    this.redraws = 0;
  }

  build() {
    this.canvas = make("canvas", { "aria-label": "Slices. Arrow keys up and down turn over slices, with shift they move the crosshair.", tabIndex: 0, role: "application" });
    this.loading = make("p", { className: "loading", role: "status" });
    this.stage = make("div", { className: "stage" }, this.canvas, this.loading);
    const [list, fields] = readout();
    this.fields = fields;
    this.slider = make("input", { type: "range", min: 1, step: 1, id: "slider", "aria-label": "Slice" });
    this.slider.addEventListener("input", () => this.go(this.axis(), Number(this.slider.value) - 1));
    this.count = make("span", { id: "count" });
    const slide = make("div", { className: "slide" }, make("span", { textContent: "Slice", "aria-hidden": "true" }), this.slider, this.count);
    if (this.depth === 1) slide.hidden = true;
    this.windows = windowButtons(this.layout, (one) => this.choose(one));
    this.views = make("div", { className: "tabs", role: "group", "aria-label": "Planes" });
    const planes = this.layout.placed
      ? [[AXIAL, "Axial", "a"], [CORONAL, "Coronal", "c"], [SAGITTAL, "Sagittal", "s"], [ALL, "All planes", "m"]]
      : [[this.acquired, "Slices", "a"], [ALL, "All planes", "m"]];
    for (const [view, label, key] of this.depth > 1 ? planes : []) {
      const button = make("button", { type: "button", textContent: label, title: `Key ${key.toUpperCase()}` });
      button.dataset.view = view;
      button.addEventListener("click", () => this.turn(view));
      this.views.append(button);
    }
    this.planes = Object.fromEntries(planes.map(([view, , key]) => [key, view]));
    const keys = keysHelp([
      ["Wheel", "next slice"], ["↑ ↓", "slice by slice"], ["Page ↑ ↓", "ten slices"], ["Home End", "first and last"],
      ["Shift + arrows", "move the crosshair"], ["1 to 9", "windows"], ["A C S M", "planes"], ["R", "as at first"],
      ["Right button", "drag to change the window"], ["One finger", "up and down: slices; a tap sets the crosshair"], ["Two fingers", "zoom"],
    ]);
    host.append(this.views, this.windows, this.stage, slide, list, keys);
    document.getElementById("plain").hidden = true;
    this.stage.addEventListener("keydown", (event) => this.key(event), { capture: true });
    this.stage.addEventListener("touchstart", (event) => this.touch(event), { capture: true, passive: true });
    this.stage.addEventListener("touchmove", (event) => this.drag(event), { capture: true, passive: false });
    this.stage.addEventListener("dblclick", (event) => event.stopPropagation(), { capture: true }); // it would set a window
    this.stage.addEventListener("keyup", (event) => event.stopPropagation(), { capture: true });
  }

  async start() {
    const first = await numbers(this.layout, this.index[2], this.index[2] + 1);
    let fill = first[0];
    for (const value of first) if (value < fill) fill = value;
    this.build();
    const { Niivue, NVImage, DRAG_MODE } = window.niivue;
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.35, 0.75, 1, 0.8], fontColor: [0.85, 0.88, 0.9, 1], crosshairWidth: 0.15, crosshairGap: 6,
      crosshairWidthUnit: "percent", dragAndDropEnabled: false, isRadiologicalConvention: true, sagittalNoseLeft: true,
      isOrientationTextVisible: this.layout.placed, showAllOrientationMarkers: this.layout.placed, show3Dcrosshair: false,
      multiplanarShowRender: 0, dragMode: DRAG_MODE.windowing, logLevel: "silent", loadingText: "", isColorbar: false,
      isForceMouseClickToVoxelCenters: true, tileMargin: 4, doubleTouchTimeout: 0, longTouchTimeout: 2000000000,
    });
    this.nv.onLocationChange = (location) => this.located(location);
    this.nv.onIntensityChange = (volume) => this.windowed(volume.cal_min, volume.cal_max, null);
    await this.nv.attachToCanvas(this.canvas, false);
    this.image = await NVImage.new(nifti(this.layout, fill), "series.nii", "gray");
    this.data = this.image.img;
    if (!(this.data instanceof ARRAYS[this.layout.type])) throw new Error("the viewer changed the type of the values");
    this.image.colormapInvert = this.layout.inverted;
    this.take(this.index[2], first);
    this.nv.addVolume(this.image);
    this.choose(this.window);
    this.turn(this.acquired);
    host.dataset.state = "loading";
    await this.rest();
  }

  take(first, values) {
    const size = this.rows * this.columns;
    this.data.set(values, first * size);
    this.have.fill(1, first, first + values.length / size);
    for (const value of values) {
      if (value < this.low) this.low = value;
      if (value > this.high) this.high = value;
    }
    const done = this.have.reduce((sum, one) => sum + one, 0);
    this.loading.textContent = done < this.depth ? `${done} of ${this.depth} slices loaded` : "";
    host.dataset.loaded = done;
  }

  // All other slices: from the first picture upwards, then those below it, so that slabs are decoded one after another.
  async rest() {
    const size = this.rows * this.columns * this.data.BYTES_PER_ELEMENT;
    const step = Math.max(1, Math.floor(AT_ONCE / size));
    const parts = [];
    const z = this.index[2];
    for (let at = z + 1; at < this.depth; at += step) parts.push([at, Math.min(at + step, this.depth)]);
    for (let end = z; end > 0; end -= step) parts.push([Math.max(end - step, 0), end]);
    let last = performance.now();
    let spent = 0;
    const worker = async () => {
      for (let part = parts.shift(); part; part = parts.shift()) {
        this.take(part[0], await numbers(this.layout, ...part));
        // To show what came takes a copy of the whole volume: no more than a third of the time goes into that.
        if (performance.now() - last > Math.max(300, 2 * spent)) {
          const begin = performance.now();
          this.refresh();
          last = performance.now();
          spent = last - begin;
        }
      }
    };
    await Promise.all([worker(), worker()]);
    this.refresh();
    host.dataset.state = "complete";
  }

  refresh() {
    if (this.window?.key === "full") [this.image.cal_min, this.image.cal_max] = [this.low, Math.max(this.high, this.low + 1e-6)];
    this.nv.updateGLVolume();
    this.nv.createOnLocationChange();
    if (this.window?.key === "full") this.windowed(this.low, this.high, this.window);
  }

  // --- Places: index is (column, row, slice) of the array; niivue counts along right, anterior, superior.

  axis() {
    const ras = { [AXIAL]: 2, [CORONAL]: 1, [SAGITTAL]: 0 }[this.view === ALL ? this.acquired : this.view];
    return Math.abs(this.image.permRAS[ras]) - 1;
  }

  sizes() { return [this.columns, this.rows, this.depth]; }

  toRAS(index) {
    const sizes = this.sizes();
    return this.image.permRAS.map((p) => (p > 0 ? index[p - 1] : sizes[-p - 1] - 1 - index[-p - 1]));
  }

  fromRAS(voxel) {
    const sizes = this.sizes();
    const index = [0, 0, 0];
    this.image.permRAS.forEach((p, k) => {
      const axis = Math.abs(p) - 1;
      const at = Math.min(Math.max(Math.round(voxel[k]), 0), sizes[axis] - 1);
      index[axis] = p > 0 ? at : sizes[axis] - 1 - at;
    });
    return index;
  }

  go(axis, to) {
    this.index[axis] = Math.min(Math.max(to, 0), this.sizes()[axis] - 1);
    this.nv.scene.crosshairPos = this.nv.vox2frac(this.toRAS(this.index));
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  located(location) {
    this.index = this.fromRAS(location.vox);
    const [i, j, k] = this.index;
    const value = this.data[(k * this.rows + j) * this.columns + i];
    this.fields.value.textContent = this.have[k] ? `${short(value, 7)} ${this.layout.unit}` : "is being loaded";
    this.fields.voxel.textContent = `${i}, ${j}, ${k}`;
    this.fields.where.textContent = placeOf(this.layout, i, j, k);
    host.dataset.voxel = this.index.join();
    host.dataset.value = this.have[k] ? value : "";
    const axis = this.axis();
    const total = this.sizes()[axis];
    this.slider.max = total;
    this.slider.value = this.index[axis] + 1;
    this.count.textContent = `${this.index[axis] + 1} of ${total}`;
    this.slider.setAttribute("aria-valuetext", `${this.index[axis] + 1} of ${total}, value ${this.fields.value.textContent}`);
  }

  // One finger puts the crosshair where it touches, and in a single plane turns over slices as it moves up or down.

  touch(event) {
    this.finger = event.touches.length === 1 ? { y: event.touches[0].clientY, at: this.index[this.axis()] } : null;
  }

  drag(event) {
    if (event.touches.length !== 1) this.finger = null; // two zoom
    if (!this.finger || this.view === ALL || this.depth < 2) return;
    event.stopPropagation();
    event.preventDefault();
    const axis = this.axis();
    const step = Math.min(Math.max(this.canvas.clientHeight / this.sizes()[axis], 4), 24); // pixels for a slice
    this.go(axis, this.finger.at + Math.round((event.touches[0].clientY - this.finger.y) / step));
  }

  turn(view) {
    this.view = view;
    this.nv.opts.crosshairWidth = view === ALL ? 0.36 : 0.18; // per cent: a line of one pixel vanishes between two
    this.nv.setSliceType(view);
    for (const button of this.views.children) button.setAttribute("aria-pressed", String(Number(button.dataset.view) === view));
    this.go(this.axis(), this.index[this.axis()]);
  }

  // --- Windows

  choose(one) {
    this.window = one;
    const [low, high] = one.centre === null ? [this.low, Math.max(this.high, this.low + 1e-6)] : bounds(one.centre, one.width);
    [this.image.cal_min, this.image.cal_max] = [low, high];
    this.nv.updateGLVolume();
    this.windowed(low, high, one);
  }

  windowed(low, high, one) {
    this.window = one;
    const [centre, width] = one && one.centre !== null ? [one.centre, one.width] : windowOf(low, high);
    this.fields.window.textContent = `${short(centre)}, ${short(width)}`;
    host.dataset.low = low;
    host.dataset.high = high;
    for (const button of this.windows.children) button.setAttribute("aria-pressed", String(button.dataset.window === one?.key));
  }

  key(event) {
    if (event.key === "Tab" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // niivue has keys of its own, of which nobody is told
    const axis = this.axis();
    const at = this.index[axis];
    // In a plane, the array's axes along the screen's; the crosshair moves as the arrow points.
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] };
    if (event.shiftKey && event.key in moves) {
      const [which, by] = moves[event.key];
      const plane = [0, 1, 2].filter((one) => one !== axis);
      this.go(plane[which], this.index[plane[which]] + by);
    } else if (["ArrowUp", "ArrowLeft"].includes(event.key)) this.go(axis, at - 1);
    else if (["ArrowDown", "ArrowRight"].includes(event.key)) this.go(axis, at + 1);
    else if (event.key === "PageUp") this.go(axis, at - 10);
    else if (event.key === "PageDown") this.go(axis, at + 10);
    else if (event.key === "Home") this.go(axis, 0);
    else if (event.key === "End") this.go(axis, this.sizes()[axis] - 1);
    else if (/^[1-9]$/.test(event.key) && this.layout.windows[event.key - 1]) this.choose(this.layout.windows[event.key - 1]);
    else if (event.key.toLowerCase() in this.planes && this.depth > 1) this.turn(this.planes[event.key.toLowerCase()]);
    else if (event.key.toLowerCase() === "r") {
      this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
      this.choose(this.layout.windows[0]);
      this.turn(this.acquired);
    } else return;
    event.preventDefault();
  }
}
