// Shows and rotates the points of each figure on the page (viewer.py). They are drawn by hand, each as a square, the nearest on
// top: without WebGL, which not every browser has, the picture is the same everywhere.
"use strict";
(() => {
  const STEPS = 65535;
  const SIDE_MAX_PX = 1000; // of the drawn picture; the page enlarges it
  const TURN = Math.PI / 180; // per pixel of a drag: half a degree
  const STEP = Math.PI / 18; // per key
  const TILT_MAX = (85 * Math.PI) / 180;
  const START = { yaw: -0.35, pitch: 0.12 }; // a little from the side, to be seen as something that turns

  function decode(figure) {
    const settings = JSON.parse(figure.dataset.settings);
    const bytes = Uint8Array.from(atob(figure.dataset.points), (letter) => letter.charCodeAt(0));
    const { num, low, high } = settings;
    if (bytes.length !== 10 * num) throw new Error("the points are damaged");
    const view = new DataView(bytes.buffer);
    const places = new Float32Array(3 * num);
    for (let i = 0; i < 3 * num; i++) {
      const axis = i % 3;
      places[i] = low[axis] + (view.getUint16(2 * i, true) / STEPS) * (high[axis] - low[axis]);
    }
    const colours = new Uint32Array(num); // as the four bytes of a pixel, whatever their order in this machine's numbers
    const pixels = new Uint8Array(colours.buffer);
    for (let i = 0; i < num; i++) {
      for (let c = 0; c < 3; c++) pixels[4 * i + c] = bytes[6 * num + 3 * i + c];
      pixels[4 * i + 3] = 255;
    }
    return { ...settings, places, colours, foreground: bytes.subarray(9 * num) };
  }

  // the point that everything turns around: in the middle of the foreground, or of everything where there is none
  function findPivot({ num, places, foreground }) {
    const some = foreground.includes(1);
    const depths = [];
    for (let i = 0; i < num; i++) if (!some || foreground[i]) depths.push(-places[3 * i + 2]);
    depths.sort((a, b) => a - b);
    return depths.length ? depths[depths.length >> 1] : 1;
  }

  // how far the view reaches to the sides and up, as tangents
  function findExtent({ num, places }) {
    const extent = [1e-3, 1e-3];
    for (let i = 0; i < num; i++) {
      for (let axis = 0; axis < 2; axis++) extent[axis] = Math.max(extent[axis], Math.abs(places[3 * i + axis] / places[3 * i + 2]));
    }
    return extent;
  }

  function start(figure) {
    const cloud = decode(figure);
    const view = figure.querySelector(".points-view");
    const canvas = view.querySelector("canvas");
    const context = canvas.getContext("2d");
    const status = figure.querySelector(".points-status");
    const choice = figure.querySelector("select");
    const pivot = findPivot(cloud);
    const extent = findExtent(cloud);
    const camera = { ...START, zoom: 1, x: 0, y: 0 };
    let picture, pixels, near, owner, pending = false, focal = 1;

    function fit() {
      const ratio = Math.min(window.devicePixelRatio || 1, SIDE_MAX_PX / Math.max(1, view.clientWidth, view.clientHeight));
      canvas.width = Math.max(1, Math.round(view.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(view.clientHeight * ratio));
      picture = context.createImageData(canvas.width, canvas.height);
      pixels = new Uint32Array(picture.data.buffer);
      near = new Float32Array(pixels.length);
      owner = new Int32Array(pixels.length);
      focal = Math.min(canvas.width / 2 / extent[0], canvas.height / 2 / extent[1]);
      paint(); // at once: a canvas of a new size is empty
    }

    function paint() {
      pending = false;
      const { width, height } = canvas;
      const wanted = choice ? choice.value : "all";
      const [cosYaw, sinYaw, cosPitch, sinPitch] = [Math.cos(camera.yaw), Math.sin(camera.yaw), Math.cos(camera.pitch), Math.sin(camera.pitch)];
      const distance = pivot / camera.zoom;
      const { num, places, colours, foreground, spacing } = cloud;
      pixels.fill(0);
      near.fill(Infinity);
      owner.fill(-1);
      for (let i = 0; i < num; i++) {
        if (wanted !== "all" && (wanted === "foreground") !== (foreground[i] === 1)) continue;
        const x = places[3 * i], y = places[3 * i + 1], z = places[3 * i + 2];
        const beyond = z + pivot;
        const turned = cosYaw * beyond - sinYaw * x;
        const side = cosYaw * x + sinYaw * beyond + camera.x;
        const up = cosPitch * y - sinPitch * turned + camera.y;
        const away = distance - (cosPitch * turned + sinPitch * y);
        if (away < 0.02 * pivot) continue;
        const scale = focal / away;
        const size = Math.min(24, Math.max(1.5, -z * spacing * scale * 1.4));
        const left = Math.max(0, Math.round(width / 2 + side * scale - size / 2));
        const top = Math.max(0, Math.round(height / 2 - up * scale - size / 2));
        const right = Math.min(width, Math.round(width / 2 + side * scale + size / 2));
        const bottom = Math.min(height, Math.round(height / 2 - up * scale + size / 2));
        for (let row = top; row < bottom; row++) {
          for (let place = row * width + left; place < row * width + right; place++) {
            if (away < near[place]) {
              near[place] = away;
              pixels[place] = colours[i];
              owner[place] = i;
            }
          }
        }
      }
      context.putImageData(picture, 0, 0);
    }

    function draw() {
      if (!pending) requestAnimationFrame(paint);
      pending = true;
    }

    function describe() {
      const degrees = (angle) => Math.round((angle * 180) / Math.PI);
      const yaw = degrees(camera.yaw), pitch = degrees(camera.pitch);
      const parts = [];
      if (yaw) parts.push(`${Math.abs(yaw)}° from the ${yaw < 0 ? "right" : "left"}`);
      if (pitch) parts.push(`${Math.abs(pitch)}° from ${pitch > 0 ? "above" : "below"}`);
      if (Math.round(100 * camera.zoom) !== 100) parts.push(`${camera.zoom.toFixed(1)} times as near`);
      return parts.length || camera.x || camera.y ? parts.join(", ") : "as photographed";
    }

    function change(changes) {
      Object.assign(camera, changes);
      camera.yaw = Math.atan2(Math.sin(camera.yaw), Math.cos(camera.yaw));
      camera.pitch = Math.max(-TILT_MAX, Math.min(TILT_MAX, camera.pitch));
      camera.zoom = Math.max(0.2, Math.min(12, camera.zoom));
      status.textContent = describe();
      draw();
    }

    const turn = (yaw, pitch) => change({ yaw: camera.yaw + yaw, pitch: camera.pitch + pitch });
    const zoom = (factor) => change({ zoom: camera.zoom * factor });
    const move = (right, up) => {
      const unit = pivot / camera.zoom / focal; // of a drawn pixel at the pivot
      change({ x: camera.x + right * unit, y: camera.y + up * unit });
    };
    const reset = () => change({ yaw: 0, pitch: 0, zoom: 1, x: 0, y: 0 });
    const actions = {
      left: () => turn(-STEP, 0), right: () => turn(STEP, 0), up: () => turn(0, STEP), down: () => turn(0, -STEP),
      nearer: () => zoom(1.25), farther: () => zoom(0.8), reset,
    };
    for (const button of figure.querySelectorAll("button[data-action]")) button.addEventListener("click", actions[button.dataset.action]);
    if (choice) choice.addEventListener("change", draw);

    view.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = canvas.width / 20;
      const moves = {
        ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
      };
      const turns = {
        ArrowLeft: actions.left, ArrowRight: actions.right, ArrowUp: actions.up, ArrowDown: actions.down,
        "+": actions.nearer, "=": actions.nearer, "-": actions.farther, Home: reset,
      };
      const act = (event.shiftKey && moves[event.key]) || turns[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });

    // one pointer turns, or moves with shift or another button; two move and come nearer
    const pointers = new Map();
    const middle = () => {
      const [a, b] = [...pointers.values()];
      return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
    };
    view.addEventListener("pointerdown", (event) => {
      view.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (event.button) event.preventDefault();
    });
    view.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) {
        point(event);
        return;
      }
      const before = pointers.size === 2 ? middle() : null;
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const drawn = canvas.width / Math.max(1, view.clientWidth); // drawn pixels in one of the page
      if (before) {
        const after = middle();
        move((after.x - before.x) * drawn, (before.y - after.y) * drawn);
        if (before.apart && after.apart) zoom(after.apart / before.apart);
      } else if (pointers.size === 1) {
        const [right, down] = [event.clientX - last.x, event.clientY - last.y];
        if (event.shiftKey || event.buttons & 6) move(right * drawn, -down * drawn);
        else turn(right * TURN * 0.5, down * TURN * 0.5);
      }
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      view.addEventListener(end, (event) => pointers.delete(event.pointerId));
    }
    view.addEventListener("contextmenu", (event) => event.preventDefault());
    view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== view) return; // the page scrolls, until the view was clicked
      event.preventDefault();
      zoom(Math.exp(-0.0015 * event.deltaY * (event.deltaMode === 1 ? 16 : 1)));
    }, { passive: false });

    // the depth of what is pointed at, as the camera that took the photo saw it
    function point(event) {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
      const row = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
      if (!owner || column < 0 || row < 0 || column >= canvas.width || row >= canvas.height) return;
      const i = owner[row * canvas.width + column];
      status.textContent = i < 0 ? describe() : `depth ${(-cloud.places[3 * i + 2]).toFixed(2)}${cloud.unit ? ` ${cloud.unit}` : " (relative)"}`;
    }
    view.addEventListener("pointerleave", () => { status.textContent = describe(); });

    for (const part of figure.querySelectorAll(".points-controls, .points-keys")) part.hidden = false;
    figure.querySelector(".points-missing").hidden = true;
    new ResizeObserver(fit).observe(view);
    fit();
  }

  for (const figure of document.querySelectorAll("figure.points")) {
    try {
      start(figure);
    } catch (error) {
      figure.querySelector(".points-missing").textContent = `Not shown: ${error.message}.`;
    }
  }
})();
