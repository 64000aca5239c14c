"use strict";

const CONCURRENT = 4;
const REQUEST_FAILED = "The page's own server does not respond. Is it still running?";

const element = (id) => document.getElementById(id);
const results = [];
const queue = [];
let about = { max_file_bytes: 0, layers: [], neighbours: false };
let running = 0;

async function request(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error(REQUEST_FAILED);
  }
  const prediction = await response.json().catch(() => ({ error: `${REQUEST_FAILED} (status ${response.status})` }));
  if (prediction.error) throw new Error(prediction.error);
  return prediction;
}

function percent(score) {
  return `${(100 * score).toFixed(1)} %`;
}

function addFiles(files) {
  for (const file of files) {
    const result = { file, name: file.name || "pasted image", prediction: null, error: "" };
    result.view = addView(result);
    results.push(result);
    queue.push(result);
  }
  showState();
  while (running < CONCURRENT && queue.length) work();
}

async function work() {
  running += 1;
  while (queue.length) {
    await classify(queue.shift());
    showState();
  }
  running -= 1;
  showState();
}

async function classify(result) {
  try {
    if (about.max_file_bytes && result.file.size > about.max_file_bytes) {
      throw new Error(`This file is larger than ${Math.floor(about.max_file_bytes / 1e6)} MB.`);
    }
    result.prediction = await request("api/classify", result.file);
    showAnswer(result);
  } catch (error) {
    result.error = error.message;
    showError(result, error.message);
  }
}

function addView(result) {
  const view = element("result").content.firstElementChild.cloneNode(true);
  view.setAttribute("aria-label", result.name);
  view.querySelector("h2").textContent = result.name;
  const image = view.querySelector("img");
  image.alt = result.name;
  image.addEventListener("error", () => { image.hidden = true; });
  image.src = URL.createObjectURL(result.file);
  view.querySelector(".explain").addEventListener("click", () => explain(result));
  const layers = view.querySelector(".layers");
  layers.append(new Option("...", ""), ...about.layers.map((name) => new Option(name)));
  layers.addEventListener("change", () => showActivations(result, layers.value));
  element("results").prepend(view);
  return view;
}

function showError(result, message) {
  const line = result.view.querySelector(".message");
  line.textContent = message;
  line.hidden = false;
}

function showAnswer(result) {
  const { labels, scores, version } = result.prediction;
  const rows = labels.map((label, k) => {
    const row = document.createElement("tr");
    const name = document.createElement("td");
    const text = document.createElement("div");
    text.className = "name";
    text.textContent = label;
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.width = percent(scores[k]).replace(" ", "");
    name.append(text, bar);
    const score = document.createElement("td");
    score.textContent = percent(scores[k]);
    row.append(name, score);
    return row;
  });
  const table = result.view.querySelector("table");
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = false;
  result.view.querySelector(".version").textContent = version === null ? "" : `Predicted by version ${version}.`;
  result.view.querySelector(".inside").hidden = !about.layers.length;
}

async function explain(result) {
  const button = result.view.querySelector(".explain");
  button.disabled = true;
  try {
    const prediction = await request("api/explain", result.file);
    showCrops(result.view, prediction);
    showNeighbours(result.view, prediction.neighbours);
    button.hidden = true;
  } catch (error) {
    showError(result, error.message);
    button.disabled = false;
  }
}

function showCrops(view, { width, height, crops }) {
  const drawing = view.querySelector("svg");
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.setAttribute("preserveAspectRatio", "none");
  const items = crops.map((crop) => {
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const name of ["x", "y", "width", "height"]) box.setAttribute(name, crop[name]);
    drawing.append(box);
    const item = document.createElement("li");
    item.tabIndex = 0;
    item.textContent = `${crop.position}${crop.flipped ? ", flipped" : ""}: ${crop.label} ${percent(crop.score)}`;
    const select = (on) => { if (on) drawing.append(box); box.classList.toggle("selected", on); };
    for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focus", true], ["blur", false]]) {
      item.addEventListener(event, () => select(on));
    }
    return item;
  });
  const list = view.querySelector(".crops");
  list.replaceChildren(...items);
  list.hidden = false;
}

function showNeighbours(view, neighbours) {
  if (!neighbours || !neighbours.length) return;
  const items = neighbours.map(({ name, distance, picture }) => {
    const item = document.createElement("li");
    const image = document.createElement("img");
    image.src = picture;
    image.alt = "";
    item.append(image, `${name} (distance ${distance.toPrecision(3)})`);
    return item;
  });
  const section = view.querySelector(".neighbours");
  section.querySelector("ol").replaceChildren(...items);
  section.hidden = false;
}

async function showActivations(result, layer) {
  const figure = result.view.querySelector(".activations");
  figure.hidden = true;
  if (!layer) return;
  try {
    const { picture } = await request(`api/activations/${encodeURIComponent(layer)}`, result.file);
    figure.querySelector("img").src = picture;
    figure.querySelector("img").alt = `Activations of ${layer} for ${result.name}, brighter is larger`;
    figure.querySelector("figcaption").textContent = `Activations of ${layer}: brighter is larger.`;
    figure.hidden = false;
  } catch (error) {
    showError(result, error.message);
  }
}

function showState() {
  const waiting = queue.length + running;
  const failed = results.filter((result) => result.error).length;
  const done = results.filter((result) => result.prediction).length;
  const failures = failed ? `, ${failed} without a prediction` : "";
  element("status").textContent = !results.length ? ""
    : waiting ? `Classifying: ${done} of ${results.length} done${failures}.`
    : `${done} of ${results.length} classified${failures}.`;
  element("csv").hidden = !done;
  element("clear").hidden = !results.length;
}

// A cell that begins like a formula would be computed by a spreadsheet.
function cell(value) {
  const text = String(value).replace(/[\u0000-\u001f\u007f]/g, " ");
  const safe = /^[=+\-@]/.test(text) && typeof value !== "number" ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function downloadCsv() {
  const lines = [["file", "rank", "label", "score", "version", "error"]];
  for (const { name, prediction, error } of results) {
    if (!prediction) lines.push([name, "", "", "", "", error]);
    else prediction.labels.forEach((label, k) =>
      lines.push([name, k + 1, label, prediction.scores[k], prediction.version ?? "", ""]));
  }
  const text = lines.map((line) => line.map(cell).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`\ufeff${text}\r\n`], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

function clear() {
  queue.length = 0;
  for (const { view } of results) {
    URL.revokeObjectURL(view.querySelector("img").src);
    view.remove();
  }
  results.length = 0;
  showState();
}

async function start() {
  const drop = element("drop");
  element("files").addEventListener("change", ({ target }) => { addFiles(target.files); target.value = ""; });
  element("csv").addEventListener("click", downloadCsv);
  element("clear").addEventListener("click", clear);
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    addFiles(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => addFiles(event.clipboardData.files));
  try {
    about = await request("api/about");
    element("about").textContent = `Model ${about.model_name} at ${about.server}`;
    if (about.layers.length) {
      element("kernels").src = (await request("api/kernels")).picture;
      element("network").hidden = false;
    }
  } catch (error) {
    element("about").textContent = error.message;
  }
}

start();
