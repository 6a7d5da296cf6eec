// The results of a photo: four pictures with one crosshair, the values under it, the mask's threshold, the scene, the files.
// Run by gradio.HTML with `element`, `props` and `watch`; the value is that of shown.describe_result, or null.

const RAW_MAX = 65535;
const HINT = "Point at a picture, tap it, or use the arrow keys in it, to read its values.";
// kept from photo to photo
const settings = { threshold: 0.5, soft: false };
let drawing = 0;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const view = new DataView(await new Response(stream).arrayBuffer());
  return Uint16Array.from({ length: view.byteLength / 2 }, (_, n) => view.getUint16(2 * n, true));
}

async function loadPicture(url) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  return picture;
}

function formatDepth(depth, value) {
  const text = depth >= 10 ? depth.toFixed(1) : depth.toFixed(2);
  return value.unit === "metre" ? `${text} m` : `${text} (relative)`;
}

// a picture with a crosshair; the pointer and the arrow keys move it in all of them
function makePanel(name, caption, canvas, move) {
  const cross = make("span", { class: "dm-cross", hidden: "" });
  const frame = make("div", {
    class: `dm-frame dm-${name}`, tabindex: "0", role: "img", "aria-label": `${caption}. Arrow keys read values.`,
  }, canvas, cross);
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  frame.addEventListener("pointermove", point);
  frame.addEventListener("pointerdown", point);
  return make("figure", {}, make("figcaption", {}, caption), frame);
}

function makeLegend(value) {
  const bar = make("span", { class: "dm-bar", style: `background: linear-gradient(90deg, ${value.scale.join(", ")})` });
  return make("div", { class: "dm-legend" }, make("span", {}, formatDepth(value.near, value)), bar,
    make("span", {}, formatDepth(value.far, value)));
}

function makeCanvas([width, height]) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

function paint(canvas, picture) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
}

// the mask in grey, and the photo through it; 0 <= threshold <= 1
function paintMask(canvases, photo, mask, [width, height]) {
  const grey = new ImageData(width, height), alpha = new ImageData(width, height);
  const [greys, alphas] = [grey, alpha].map((picture) => new Uint32Array(picture.data.buffer));
  for (let n = 0; n < width * height; n++) {
    const part = mask[n] / RAW_MAX;
    const level = settings.soft ? Math.round(255 * part) : part >= settings.threshold ? 255 : 0;
    greys[n] = 0xff000000 | (level * 0x010101);  // alpha, blue, green, red
    alphas[n] = level << 24;
  }
  canvases.mask.getContext("2d").putImageData(grey, 0, 0);
  const context = canvases.cutout.getContext("2d");
  context.globalCompositeOperation = "source-over";
  context.putImageData(alpha, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.drawImage(photo, 0, 0, width, height);
}

function makeControls(redraw) {
  const slider = make("input", { type: "range", id: "threshold", min: "0", max: "1", step: "0.01" });
  slider.value = settings.threshold;
  const shown = make("output", { for: "threshold" });
  const soft = make("input", { type: "checkbox", id: "soft" });
  soft.checked = settings.soft;
  const update = () => {
    [settings.threshold, settings.soft] = [Number(slider.value), soft.checked];
    shown.textContent = settings.threshold.toFixed(2);
    slider.disabled = settings.soft;
    redraw();
  };
  slider.addEventListener("input", update);
  soft.addEventListener("input", update);
  update();
  return make("div", { class: "dm-controls" },
    make("label", { for: "threshold" }, "Mask threshold ", shown), slider,
    make("label", { class: "dm-check" }, soft, "soft edges: the probability as it is"));
}

async function draw(place, value) {
  const turn = ++drawing;
  if (!value) {
    place.replaceChildren(make("p", { class: "dm-empty" }, "Mask, cut-out, depth and the scene appear here."));
    return;
  }
  const [photo, depth, values] = await Promise.all([loadPicture(value.photo), loadPicture(value.depth), inflate(value.values)]);
  if (turn !== drawing) return;  // a newer photo was faster
  const [width, height] = value.shown;
  const [depths, mask] = [values.subarray(0, width * height), values.subarray(width * height)];
  const names = { photo: "Photo", mask: "Mask", cutout: "Cut-out", depth: "Depth" };
  const canvases = Object.fromEntries(Object.keys(names).map((name) => [name, makeCanvas(value.shown)]));
  paint(canvases.photo, photo);
  paint(canvases.depth, depth);

  const readout = make("output", { class: "dm-readout", "aria-live": "polite" }, HINT);
  let spot = null;  // the pixel under the crosshair, in what is shown
  const grid = make("div", { class: "dm-grid" });
  const show = (x, y) => {
    spot = [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
    for (const cross of grid.querySelectorAll(".dm-cross")) {
      cross.hidden = false;
      cross.style.left = `${100 * (spot[0] + 0.5) / width}%`;
      cross.style.top = `${100 * (spot[1] + 0.5) / height}%`;
    }
    const n = spot[1] * width + spot[0];
    const metres = depths[n] / RAW_MAX * value.depth_max;
    const at = [spot[0] * value.width / width, spot[1] * value.height / height].map(Math.floor);
    const far = depths[n] === RAW_MAX ? " or farther" : "";
    readout.textContent =
      `x ${at[0]}, y ${at[1]}:  depth ${formatDepth(metres, value)}${far},  mask ${(mask[n] / RAW_MAX).toFixed(3)}`;
  };
  const move = (x, y) => show(Math.floor(x * width), Math.floor(y * height));
  grid.append(...Object.entries(names).map(([name, caption]) => makePanel(name, caption, canvases[name], move)));
  grid.querySelector("figure:last-child").append(makeLegend(value));
  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!steps) return;
    event.preventDefault();
    const far = event.shiftKey ? 10 : 1;
    const [x, y] = spot ?? [Math.floor(width / 2) - steps[0] * far, Math.floor(height / 2) - steps[1] * far];
    show(x + steps[0] * far, y + steps[1] * far);
  });

  const link = make("a", { class: "dm-download", download: "" }, "Download all (.zip)");
  const stem = value.name.replace(/\.[^.]*$/, "") || "photo";
  const controls = makeControls(() => {
    paintMask(canvases, photo, mask, value.shown);
    const query = new URLSearchParams({ threshold: settings.threshold, soft: settings.soft });
    link.href = `${value.files}/${encodeURIComponent(stem)}.zip?${query}`;
  });
  const scene = make("iframe", {
    class: "dm-scene", title: "The scene in 3D", sandbox: "allow-scripts", src: `${value.files}/scene.html`, loading: "lazy",
  });
  const row = make("div", { class: "dm-row" }, link, make("span", { class: "dm-note" }, value.note));
  place.replaceChildren(grid, readout, controls, row, make("h2", {}, "The scene in 3D"), scene);
  if (place.getBoundingClientRect().top > window.innerHeight / 2) place.scrollIntoView();  // below the inputs, on a phone
}

const redraw = () => draw(element.querySelector(".dm"), props.value);
watch("value", redraw);
redraw();
