// What moves on the page: values of charts, and the gallery's sliders, order and filter. Without it everything is there to see
// but what differs from run to run, which a small file beside the page holds (runs_file.py).
"use strict";
document.documentElement.classList.add("js");

const PAGE_SIZE = 8;

// Runs: elements are made of what the file says, never of markup in it; a file that is missing, damaged or of another page leaves
// a line that says so.
const { page, runs: runsName } = document.currentScript.dataset;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children); // strings become text
  return element;
}

function makePiece(piece) {
  if (typeof piece === "string") return piece;
  const text = String(piece.text);
  const sign = (shown) => make("span", { "aria-hidden": "true" }, shown);
  switch (piece.as) {
    case "code": return make("code", {}, text);
    case "better": return make("b", { class: "better" }, sign("\u25b2 "), text);
    case "worse": return make("b", { class: "worse" }, sign("\u25bc "), text);
    case "unknown": return make("span", { class: "unknown" }, sign("\u2013"), make("span", { class: "hidden" }, text));
    default: return make("b", {}, text);
  }
}

function makeTable(block) {
  const numbers = (i) => (block.numbers.includes(i) ? { class: "number" } : {});
  const row = (texts) => make("tr", {}, ...texts.map((text, i) => (
    make(i ? "td" : "th", i ? numbers(i) : { scope: "row" }, ...text.map(makePiece)))));
  const heads = block.heads.map((head, i) => make("th", { scope: "col", ...numbers(i) }, String(head)));
  const table = make("table", { class: "whole" }, make("thead", {}, make("tr", {}, ...heads)));
  table.append(make("tbody", {}, ...block.rows.map(row)));
  if (block.foot) table.append(make("tfoot", {}, row(block.foot)));
  return make("div", { class: "scroll", role: "region", "aria-label": String(block.label), tabindex: "0" }, table);
}

function makeBlock(block) {
  switch (block.kind) {
    case "table": return makeTable(block);
    case "properties": return make("dl", { class: "properties" }, ...block.rows.map(([name, value]) => (
      make("div", {}, make("dt", {}, String(name)), make("dd", {}, String(value))))));
    case "heading": return make("h3", {}, ...block.text.map(makePiece));
    case "command": return make("pre", { tabindex: "0" }, make("code", {}, ...block.text.map(makePiece)));
    case "note": return make("p", { class: "note" }, ...block.text.map(makePiece));
    default: return make("p", {}, ...block.text.map(makePiece));
  }
}

function placeRuns(file) {
  const places = [];
  for (const place of document.querySelectorAll("[data-block]")) places.push([place, file.blocks[place.dataset.block].map(makeBlock)]);
  for (const place of document.querySelectorAll("[data-words]")) {
    places.push([place, [" ", ...file.words[place.dataset.words].map(makePiece)]]);
  }
  for (const place of document.querySelectorAll("[data-card]")) {
    const lines = (file.cards[place.dataset.card] || []).map((text) => make("li", {}, ...text.map(makePiece)));
    places.push([place, [...lines, ...place.childNodes]]);
  }
  for (const [place, nodes] of places) place.replaceChildren(...nodes); // all or nothing
}

function sayWhyNot(why) {
  for (const note of document.querySelectorAll(".elsewhere > .note")) {
    note.textContent = `Not shown: ${runsName} beside this page ${why}.`;
  }
}

const runsFile = window.depthmaskRuns;
if (runsFile !== undefined) {
  try {
    if (runsFile.page === page) placeRuns(runsFile);
    else sayWhyNot("belongs to another page");
  } catch {
    sayWhyNot("is damaged");
  }
}

// Charts: a row of the table below stands for each place on the width; the nearest one is shown.
for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector(".plot");
  const names = [...chart.querySelectorAll("thead th")].map((cell) => cell.textContent);
  const rows = [...chart.querySelectorAll("tbody tr")].map((row) => ({
    place: Number(row.dataset.x),
    cells: [...row.cells].map((cell) => cell.textContent),
  }));
  if (!rows.length) continue;
  const line = document.createElement("div");
  line.className = "crosshair";
  line.style.top = `${100 * chart.dataset.top}%`;
  line.style.height = `${100 * (chart.dataset.bottom - chart.dataset.top)}%`;
  const tip = document.createElement("dl");
  tip.className = "tip";
  line.hidden = tip.hidden = true;
  plot.append(line, tip);
  plot.tabIndex = 0;
  plot.setAttribute("role", "slider");
  plot.setAttribute("aria-label", `${chart.querySelector("figcaption").textContent}: values`);
  plot.setAttribute("aria-valuemin", "1");
  plot.setAttribute("aria-valuemax", String(rows.length));
  let current = 0;

  const show = (number) => {
    current = Math.max(0, Math.min(rows.length - 1, number));
    const { place, cells } = rows[current];
    const known = names.map((name, i) => [name, cells[i]]).filter(([, value]) => value);
    tip.replaceChildren(
      ...known.map(([name, value]) => {
        const pair = document.createElement("div");
        const term = document.createElement("dt");
        const detail = document.createElement("dd");
        term.textContent = name;
        detail.textContent = value;
        pair.append(term, detail);
        return pair;
      }),
    );
    line.style.left = `${100 * place}%`;
    line.hidden = tip.hidden = false;
    const free = Math.max(0, plot.clientWidth - tip.offsetWidth);
    const beside = place * plot.clientWidth + (place < 0.5 ? 12 : -12 - tip.offsetWidth);
    tip.style.left = `${Math.max(0, Math.min(free, beside))}px`;
    plot.setAttribute("aria-valuenow", String(current + 1));
    plot.setAttribute("aria-valuetext", known.map(([name, value]) => `${name} ${value}`).join(", "));
  };
  const hide = () => {
    if (plot !== document.activeElement) line.hidden = tip.hidden = true;
  };
  const point = (event) => {
    const box = plot.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width;
    const distances = rows.map((row) => Math.abs(row.place - place));
    show(distances.indexOf(Math.min(...distances)));
  };
  plot.setAttribute("aria-valuenow", "1");
  plot.setAttribute("aria-valuetext", names.map((name, i) => `${name} ${rows[0].cells[i]}`).join(", "));
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("focus", () => show(current));
  plot.addEventListener("blur", () => { line.hidden = tip.hidden = true; });
  plot.addEventListener("keydown", (event) => {
    const moves = {
      ArrowLeft: current - 1, ArrowDown: current - 1, ArrowRight: current + 1, ArrowUp: current + 1,
      Home: 0, End: rows.length - 1,
    };
    if (event.key === "Escape") line.hidden = tip.hidden = true;
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}

// Sliders: 0 is the photo, 1 the truth, 2 the prediction; in between, the next image comes in from the left.
const together = document.getElementById("together");
const viewers = [...document.querySelectorAll(".viewer")];
for (const viewer of viewers) {
  const stack = viewer.querySelector(".stack");
  const photo = viewer.parentElement.querySelector(".photo img").cloneNode();
  photo.className = "base";
  photo.alt = "";
  const edge = document.createElement("div");
  edge.className = "edge";
  stack.prepend(photo);
  stack.append(edge);
  viewer.querySelector("input").addEventListener("input", (event) => {
    for (const other of together.checked ? viewers : [viewer]) setStop(other, Number(event.target.value));
  });
  setStop(viewer, 2);
}

function setStop(viewer, value) {
  const input = viewer.querySelector("input");
  const parts = { truth: Math.min(1, value), prediction: Math.max(0, value - 1) };
  for (const [name, part] of Object.entries(parts)) {
    viewer.querySelector(`.${name}`).style.clipPath = `inset(0 ${100 * (1 - part)}% 0 0)`;
  }
  const between = value % 1;
  viewer.querySelector(".edge").style.cssText = between ? `left: ${100 * between}%` : "display: none";
  const stops = ["photo", "truth", "prediction"];
  const below = stops[Math.floor(value)];
  const text = between ? `${Math.round(100 * between)} % ${stops[Math.ceil(value)]}, the rest ${below}` : below;
  input.value = String(value);
  input.setAttribute("aria-valuetext", text);
}

// Gallery: order, filter and how many.
const gallery = document.getElementById("gallery");
const samples = [...gallery.children].map((figure) => ({
  figure,
  scores: JSON.parse(figure.dataset.scores),
  groups: figure.dataset.groups.split(" "),
  kind: figure.dataset.kind,
}));
const controls = Object.fromEntries(["sort", "order", "group", "kind"].map((id) => [id, document.getElementById(id)]));
const more = document.getElementById("more");
let limit = PAGE_SIZE;

function arrange() {
  const option = controls.sort.selectedOptions[0];
  const column = option.value;
  const group = controls.group.value;
  const kind = controls.kind ? controls.kind.value : "";
  controls.order.disabled = !column;
  const wanted = samples.filter((s) => (!group || s.groups.includes(group)) && (!kind || s.kind === kind));
  if (column) {
    const sign = (option.dataset.higher === "yes") === (controls.order.value === "worst") ? 1 : -1;
    const known = (s) => column in s.scores;
    wanted.sort((a, b) => known(b) - known(a) || sign * (a.scores[column] - b.scores[column]) || 0);
  }
  const shown = wanted.slice(0, limit);
  for (const { figure, scores } of samples) {
    const place = figure.querySelector(".sorted");
    const repeated = [...figure.querySelectorAll(".property:not(.sorted)")].some((f) => f.textContent.startsWith(`${option.text}:`));
    place.textContent = column && !repeated ? `${option.text}: ${column in scores ? scores[column].toFixed(3) : "unknown"}` : "";
    figure.hidden = !shown.some((s) => s.figure === figure);
  }
  gallery.append(...wanted.map((s) => s.figure));
  const total = wanted.length;
  document.getElementById("num-shown").textContent = total
    ? `${shown.length} of ${total} samples shown` : "No sample is both; choose another kind or another group.";
  more.hidden = shown.length === total;
  more.textContent = `Show ${Math.min(PAGE_SIZE, total - shown.length)} more`;
}

for (const control of Object.values(controls)) {
  if (control) control.addEventListener("change", () => { limit = PAGE_SIZE; arrange(); });
}
more.addEventListener("click", () => {
  const first = limit;
  limit += PAGE_SIZE;
  arrange();
  const next = [...gallery.children].filter((figure) => !figure.hidden)[first];
  if (next) next.querySelector("input").focus();
});
window.addEventListener("beforeprint", () => { limit = samples.length; arrange(); });
document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
arrange();
