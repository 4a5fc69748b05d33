// Slices as pictures that the server made, where numbers cannot be shown: in colour, or without WebGL2.

import { asked, host, make, place, stack } from "./common.js";

export function plain(layout, reason) {
  const picture = document.getElementById("picture");
  const depth = layout.shape[0];
  let z = Number(host.dataset.z);
  let name = new URLSearchParams(location.search);
  const steps = document.querySelectorAll("#previous, #next");
  const show = (to) => {
    z = Math.min(Math.max(to, 0), depth - 1);
    name.set("stack", stack);
    name.set("z", z);
    name.set("v", layout.version);
    picture.src = document.getElementById("whole").href = `${place}/picture.png?${name}`;
    name.delete("v");
    picture.alt = `Slice ${z + 1} of ${depth}`;
    document.getElementById("at").textContent = z + 1;
    host.dataset.z = z;
    history.replaceState(null, "", `?${name}`);
  };
  for (const link of steps) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      show(z + (link.rel === "next" ? 1 : -1));
    });
  }
  picture.tabIndex = 0;
  picture.addEventListener("wheel", (event) => {
    if (depth < 2) return;
    event.preventDefault();
    show(z + Math.sign(event.deltaY));
  }, { passive: false });
  picture.addEventListener("keydown", (event) => {
    const to = { ArrowUp: z - 1, ArrowDown: z + 1, PageUp: z - 10, PageDown: z + 10, Home: 0, End: depth - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
  if (!layout.colour) readValues(picture, layout, () => z);
  if (reason) host.append(make("p", { className: "keys", textContent: reason }));
  host.dataset.state = "plain";
}

// The true value of the pixel that is pointed at, from numbers of the whole slice.
function readValues(picture, layout, current) {
  const [, rows, columns] = layout.shape;
  const output = make("output", { className: "keys", id: "value", textContent: "Click into the picture to read a value." });
  picture.after(output);
  const slices = new Map();
  picture.addEventListener("click", async (event) => {
    const box = picture.getBoundingClientRect();
    const scale = Math.min(box.width / picture.naturalWidth, box.height / picture.naturalHeight);
    const x = (event.clientX - box.left - (box.width - scale * picture.naturalWidth) / 2) / (scale * picture.naturalWidth);
    const y = (event.clientY - box.top - (box.height - scale * picture.naturalHeight) / 2) / (scale * picture.naturalHeight);
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
    const z = current();
    if (!slices.has(z)) {
      slices.clear();
      slices.set(z, asked(`values?stack=${stack}&v=${layout.version}&type=float32&from=${z}&to=${z + 1}`)
        .then((answer) => answer.arrayBuffer()).then((data) => new Float32Array(data)));
    }
    try {
      const [i, j] = [Math.floor(x * columns), Math.floor(y * rows)];
      const value = (await slices.get(z))[j * columns + i];
      output.textContent = `Column ${i}, row ${j}, slice ${z + 1}: ${value} ${layout.unit}`;
      host.dataset.value = value;
    } catch (error) {
      slices.clear();
      output.textContent = `No value: ${error.message}.`;
    }
  });
}
