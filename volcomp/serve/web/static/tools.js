// Files that are dropped become a job: they are sent one by one, the job is started, and asked how far it is.

const base = document.body.dataset.base;
const find = (id) => document.getElementById(id);
const AT_ONCE = 3; // files on their way
const LOOK = 300; // ms between two looks

let current = null; // { id, stopped }

const units = ["B", "kB", "MB", "GB", "TB"];
function size(count) {
  let k = 0;
  while (count >= 999.5 && k < units.length - 1) { count /= 1000; k += 1; }
  return `${k === 0 || count >= 99.95 ? count.toFixed(0) : Number(count.toPrecision(3))} ${units[k]}`;
}

async function asked(path, options = {}) {
  const answer = await fetch(`${base}${path}`, { ...options, headers: { Accept: "application/json", ...options.headers } });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  let facts = { sentence: `the server answered ${answer.status}` };
  try { facts = (await answer.json()).error; } catch { /* no JSON: the status says it */ }
  throw Object.assign(new Error(facts.sentence), facts);
}

// Files of a drop, with those of folders: [path, File].
async function dropped(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry());
  const found = [];
  const walk = async (entry, path) => {
    if (entry.isFile) {
      found.push([path + entry.name, await new Promise((done, failed) => entry.file(done, failed))]);
      return;
    }
    const reader = entry.createReader();
    for (;;) { // which hands out a hundred at a time
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return;
      for (const one of some) await walk(one, `${path}${entry.name}/`);
    }
  };
  for (const entry of entries) if (entry) await walk(entry, "");
  return found;
}

function show({ title, text, value, error, ended }) {
  find("form").hidden = true;
  find("job").hidden = false;
  if (title) find("job-title").textContent = title;
  if (text !== undefined) find("job-text").textContent = text;
  if (value !== undefined) find("job-bar").value = value;
  find("job-bar").hidden = Boolean(ended);
  find("job-cancel").hidden = Boolean(ended);
  find("job-again").hidden = !ended;
  find("job-error").hidden = !error;
  if (error) find("job-error").textContent = `${error[0].toUpperCase()}${error.slice(1)}.`;
  find("job").dataset.state = ended ? (error ? "failed" : "done") : "working";
}

async function run(files) {
  if (!files.length) return show({ title: "Nothing to do", text: "", error: "no file was chosen; choose files, a folder, a zip or a .vcz", ended: true });
  const job = { id: null, stopped: false, abort: new AbortController() };
  current = job;
  find("job-result").hidden = find("job-facts").hidden = find("job-files").hidden = true;
  show({ title: "Sending", text: `${files.length} ${files.length === 1 ? "file" : "files"}`, value: 0 });
  try {
    job.id = (await asked("/jobs", { method: "POST" })).id;
    const total = files.reduce((sum, [, file]) => sum + file.size, 0) || 1;
    let sent = 0, count = 0;
    const queue = [...files];
    const send = async () => {
      for (let one = queue.shift(); one && !job.stopped; one = queue.shift()) {
        const [name, file] = one;
        await asked(`/jobs/${job.id}/files?name=${encodeURIComponent(name)}`, { method: "PUT", body: file, signal: job.abort.signal });
        sent += file.size;
        count += 1;
        show({ text: `${count} of ${files.length} files, ${size(sent)} of ${size(total)}`, value: sent / total });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, send));
    if (job.stopped) return;
    let state = await asked(`/jobs/${job.id}/start`, { method: "POST" });
    while (!["done", "failed", "cancelled"].includes(state.state)) {
      const title = state.kind === "restore" ? "Restoring" : "Compressing";
      const share = state.total ? state.done / state.total : 0;
      const text = state.state === "waiting" ? "Waiting for its turn" : `${state.label[0]?.toUpperCase() ?? ""}${state.label.slice(1)} ${state.total > 1 ? `${Math.floor(100 * share)} %` : ""}`;
      show({ title, text, value: share });
      await new Promise((done) => setTimeout(done, LOOK));
      if (job.stopped) return;
      state = await asked(`/jobs/${job.id}`);
    }
    if (state.state === "failed") throw Object.assign(new Error(state.error.sentence), state.error);
    finish(state);
  } catch (error) {
    if (job.stopped) return;
    job.abort.abort(); // files that are on their way to a job that is gone
    const file = error.file ? ` (${error.file})` : "";
    show({ title: "This did not work", text: "", error: `${error.case ? `${error.case}: ` : ""}${error.message}${file}`, ended: true });
  }
}

function finish(state) {
  const { files, before, after } = state.facts;
  show({ title: "Done", text: state.name, ended: true });
  const facts = find("job-facts");
  const rows = [["Files", files.toLocaleString()], ["Before", size(before)], ["After", size(after)], ["Ratio", after ? (before / after).toFixed(2) : "–"]];
  if (state.facts.voxels) rows.push(["Bits per voxel", ((8 * after) / state.facts.voxels).toFixed(3)]);
  facts.replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    row.append(term, text);
    return row;
  }));
  facts.hidden = false;
  const link = find("job-result");
  link.href = `${base}/jobs/${state.id}/result`;
  link.download = state.name;
  link.textContent = `Download ${state.name}`;
  link.hidden = false;
  if (state.listed) list(state);
  link.focus();
}

function list(state) {
  const table = document.createElement("table");
  table.className = "list narrow";
  const caption = table.createCaption();
  caption.textContent = `Files of the archive${state.more ? ` (the first ${state.listed.length})` : ""}`;
  const head = table.createTHead().insertRow();
  for (const [text, kind] of [["Name", ""], ["Bytes", "n"], ["Kept as", ""]]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kind;
    cell.textContent = text;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const one of state.listed) {
    const row = body.insertRow();
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = one.name;
    row.append(name);
    const bytes = row.insertCell();
    bytes.className = "n";
    bytes.dataset.label = "Bytes";
    bytes.textContent = one.size.toLocaleString();
    const kept = row.insertCell();
    kept.dataset.label = "Kept as";
    kept.textContent = one.kept;
  }
  const place = find("job-files");
  place.replaceChildren(table);
  place.hidden = false;
}

function again() {
  find("job").hidden = true;
  find("form").hidden = false;
  find("form").reset();
  find("files").focus();
}

const chosen = (input) => [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);
const form = find("form");
find("folder").hidden = false;
find("folder").addEventListener("click", () => find("folder-files").click());
find("folder-files").addEventListener("change", () => run(chosen(find("folder-files"))));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run(chosen(find("files")));
});
for (const name of ["dragenter", "dragover"]) {
  form.addEventListener(name, (event) => { event.preventDefault(); form.classList.add("over"); });
}
form.addEventListener("dragleave", (event) => { if (!form.contains(event.relatedTarget)) form.classList.remove("over"); });
form.addEventListener("drop", async (event) => {
  event.preventDefault();
  form.classList.remove("over");
  run(await dropped(event.dataTransfer));
});
// A drop beside the form would make the browser leave the page.
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
find("job-cancel").addEventListener("click", async () => {
  const job = current;
  job.stopped = true;
  job.abort.abort();
  if (job.id) await asked(`/jobs/${job.id}`, { method: "DELETE" }).catch(() => null);
  show({ title: "Cancelled", text: "All files were removed.", ended: true });
  find("job").dataset.state = "cancelled";
});
find("job-again").addEventListener("click", async () => {
  const id = current?.id;
  again();
  if (id) await asked(`/jobs/${id}`, { method: "DELETE" }).catch(() => null);
});
document.body.dataset.ready = "1";
