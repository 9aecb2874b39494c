// Runs ONNX models on images in the browser, by onnxruntime-web's WebAssembly.
// The files take images as they are, uint8 (1, height, width, channels): resizing and scaling are
// inside, so that nothing of it is written a second time here.

import * as ort from "./ort/ort.wasm.min.mjs";

// More threads need headers that a plain file server does not send.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", document.baseURI).href;

const MOST = 5; // classes shown
const LONGEST = 4096; // pixels on a side; the graph's resizing costs as much as the image is large

const find = (id) => document.getElementById(id);
const models = new Map();
const sessions = new Map();
let chosen = "";
let last = null; // the image that is shown: { blob, name }
let turn = 0; // counts classifications, so that an overtaken one shows nothing

function element(name, content = "", classes = "") {
  const made = document.createElement(name);
  made.textContent = content;
  made.className = classes;
  return made;
}

function session(slug) {
  if (!sessions.has(slug)) {
    const loading = ort.InferenceSession.create(models.get(slug).file, {
      executionProviders: ["wasm"],
    });
    loading.catch(() => sessions.delete(slug)); // the next try loads again
    sessions.set(slug, loading);
  }
  return sessions.get(slug);
}

// Decode an image as the project does in Python: turned as its EXIF says, on white, 8 bits.
async function pixels(blob, channels) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Error("this file is not an image that the browser can read");
  }
  const { width, height } = bitmap;
  if (Math.max(width, height) > LONGEST) {
    throw new Error(`accepted are images of up to ${LONGEST} pixels on a side; ` +
      `received ${width} x ${height}`);
  }
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const values = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += channels) {
    if (channels === 3) {
      values[to] = rgba[from];
      values[to + 1] = rgba[from + 1];
      values[to + 2] = rgba[from + 2];
    } else {
      // ITU-R 601-2 luma in 16 bits of fraction, as Pillow computes it.
      const [red, green, blue] = [rgba[from], rgba[from + 1], rgba[from + 2]];
      values[to] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;
    }
  }
  return new ort.Tensor("uint8", values, [1, height, width, channels]);
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

function showClasses(shares, labels) {
  const order = shares.map((_, index) => index).sort((a, b) => shares[b] - shares[a] || a - b);
  find("classes").replaceChildren(...order.slice(0, MOST).map((index) => {
    const row = element("li");
    const bar = element("span", "", "bar");
    const fill = element("i");
    fill.style.width = `${100 * shares[index]}%`;
    bar.append(fill);
    row.append(
      element("span", labels[index] ?? String(index), "label"),
      bar,
      element("span", `${(100 * shares[index]).toFixed(2)} %`, "right"),
    );
    return row;
  }));
}

function fail(error) {
  find("status").textContent = "";
  find("problem").textContent = error.message;
  find("problem").hidden = false;
  find("classes").replaceChildren();
  find("latency").textContent = "";
}

async function classify() {
  const mine = ++turn;
  const model = models.get(chosen);
  const { blob, name } = last;
  find("result").setAttribute("aria-busy", "true");
  find("problem").hidden = true;
  find("status").textContent = "Classifying ...";
  try {
    const input = await pixels(blob, model.channels);
    const run = await session(model.slug);
    const start = performance.now();
    const { logits } = await run.run({ image: input }, ["logits"]);
    const milliseconds = performance.now() - start;
    if (mine !== turn) return;
    find("status").textContent = name;
    const shares = model.activation ? Array.from(logits.data) : softmax(logits.data);
    showClasses(shares, model.labels);
    find("latency").textContent =
      `${milliseconds.toFixed(1)} ms in this browser, with resizing, on one thread`;
  } catch (error) {
    if (mine === turn) fail(error);
  }
  if (mine === turn) find("result").setAttribute("aria-busy", "false");
}

function take(blob, name) {
  last = { blob, name };
  const picture = find("picture");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
  picture.hidden = false;
  return classify();
}

function showModel(slug) {
  chosen = slug;
  const model = models.get(slug);
  find("facts").replaceChildren(...model.facts.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  }));
  find("fold").replaceChildren(...model.fold.map((cells) => {
    const row = element("tr");
    row.append(...cells.map((cell) => element("td", cell, "name")));
    return row;
  }));
  find("report").href = model.report;
  find("samples").replaceChildren(...model.samples.map(({ file, label }) => {
    const button = element("button");
    button.type = "button";
    const image = element("img");
    image.src = file;
    image.alt = `Sample: ${label}`;
    button.append(image);
    button.addEventListener("click", async () => {
      const answer = await fetch(file);
      await take(await answer.blob(), `Sample: ${label}`);
    });
    return button;
  }));
}

async function choose(slug) {
  showModel(slug);
  if (last) return classify();
  const mine = ++turn;
  try {
    await session(slug);
    if (mine !== turn) return;
    find("status").textContent = "Ready: choose an image.";
  } catch (error) {
    if (mine === turn) fail(error);
  }
  if (mine === turn) find("result").setAttribute("aria-busy", "false");
}

function listen() {
  const drop = find("drop");
  find("model").addEventListener("change", (event) => choose(event.target.value));
  find("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file, file.name);
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
}

async function begin() {
  try {
    const answer = await fetch("models.json");
    for (const model of await answer.json()) models.set(model.slug, model);
    listen();
    await choose(find("model").value);
  } catch (error) {
    fail(error);
  }
}

begin();
