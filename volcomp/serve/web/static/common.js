// What all viewers of a series share.

export const host = document.getElementById("viewer");
export const place = host.dataset.place;
export const stack = host.dataset.stack;
export const ARRAYS = { int16: Int16Array, uint16: Uint16Array, float32: Float32Array };

export function make(tag, facts = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export async function asked(path) {
  const answer = await fetch(`${place}/${path}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) {
    let sentence = `the server answered ${answer.status}`;
    try { sentence = (await answer.json()).error.sentence; } catch { /* no JSON: the status says it */ }
    throw Object.assign(new Error(sentence), { status: answer.status });
  }
  return answer;
}

// What is black and white in a window (PS3.3, C.11.2.1.2.1), and the way back.
export const bounds = (centre, width) => [centre - 0.5 - Math.max(width - 1, 1e-6) / 2, centre - 0.5 + Math.max(width - 1, 1e-6) / 2];
export const windowOf = (low, high) => [(low + high) / 2 + 0.5, high - low + 1];

// Slices as numbers, from the server.
export async function numbers(layout, first, end) {
  const answer = await asked(`values?stack=${stack}&v=${layout.version}&type=${layout.type}&from=${first}&to=${end}`);
  const values = new ARRAYS[layout.type](await answer.arrayBuffer());
  if (values.length !== (end - first) * layout.shape[1] * layout.shape[2]) throw new Error("the answer was cut short");
  return values;
}

export const short = (x, digits = 5) => String(Number(x.toPrecision(digits)));

// The values at the crosshair, as a list, and the elements that hold them.
export function readout() {
  const found = {};
  const list = make("dl", { className: "readout", "aria-label": "At the crosshair" });
  for (const [id, label] of [["value", "Value"], ["voxel", "Voxel, counted from 0"], ["where", "Place in the patient, mm"], ["window", "Window: centre, width"]]) {
    found[id] = make("dd", { id, className: id === "value" ? "value" : "" });
    list.append(make("div", {}, make("dt", { textContent: label }), found[id]));
  }
  return [list, found];
}

export function keysHelp(keys) {
  const text = make("p");
  for (const [key, what] of keys) text.append(make("kbd", { textContent: key }), ` ${what}   `);
  return make("details", { className: "keys" }, make("summary", { textContent: "Keys and gestures" }), text);
}

// Buttons of the windows of a series; `choose` is called with one.
export function windowButtons(layout, choose) {
  const group = make("div", { className: "tabs", role: "group", "aria-label": "Windows" });
  layout.windows.forEach((one, k) => {
    const button = make("button", { type: "button", textContent: one.label, title: `Key ${k + 1}` });
    button.dataset.window = one.key;
    button.addEventListener("click", () => choose(one));
    group.append(button);
  });
  return group;
}

// Where a voxel lies, as people say it.
export function placeOf(layout, i, j, k) {
  if (!layout.placed) return "not stated";
  const origin = layout.origins?.[k];
  const mm = layout.affine.slice(0, 3).map((row, a) => row[0] * i + row[1] * j + (origin ? origin[a] : row[2] * k + row[3]));
  const sides = [["L", "R"], ["P", "A"], ["I", "S"]];
  return mm.map((x, a) => `${sides[a][x >= 0 ? 1 : 0]} ${Math.abs(x).toFixed(1)}`).join("  ");
}
