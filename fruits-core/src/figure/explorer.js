"use strict";
if (parent !== window) document.documentElement.className = "framed";
// data: { axes, labels: [{ name, colour, corners }], label: [index a photo], path: [], n, coordinates: base64 f32, axis after axis, sheet }
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.coordinates), (c) => c.charCodeAt(0));
const floats = new Float32Array(bytes.buffer);
const n = data.n;
const axis = (k) => floats.subarray(k * n, (k + 1) * n);

const plot = document.getElementById("plot");
const pen = plot.getContext("2d");
const tip = document.getElementById("tip");
const tile = tip.querySelector("canvas");
const sheet = new Image();
sheet.src = data.sheet.uri;

const MARGIN = { left: 56, right: 12, top: 12, bottom: 44 };
const shown = data.labels.map(() => true);
const pick = [0, Math.min(1, data.axes.length - 1), -1]; // axes across, up and, in 3-D, in depth
let view, turn, hovered = -1, width = 0, height = 0, ratio = 1;
const px = new Float32Array(n), py = new Float32Array(n);
let order = Uint32Array.from({ length: n }, (_, i) => i);

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  const margin = high > low ? 0.04 * (high - low) : 1;
  return [low - margin, high + margin];
}

function reset() {
  const [x0, x1] = extent(axis(pick[0])), [y0, y1] = extent(axis(pick[1]));
  view = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, sx: (x1 - x0) / 2, sy: (y1 - y0) / 2, zoom: 1 };
  turn = { yaw: 0.6, pitch: 0.4 };
  draw();
}

// Marks are drawn once; a point is then a copied picture.
function mark(label, radius) {
  const canvas = document.createElement("canvas");
  const side = (canvas.width = canvas.height = Math.ceil(3 * radius));
  const pen = canvas.getContext("2d");
  pen.translate(side / 2, side / 2);
  pen.beginPath();
  if (label.corners.length) label.corners.forEach(([x, y], i) => (i ? pen.lineTo(x * radius, y * radius) : pen.moveTo(x * radius, y * radius)));
  else pen.arc(0, 0, radius, 0, 7);
  pen.closePath();
  pen.globalAlpha = 0.8;
  pen.fillStyle = label.colour;
  pen.fill();
  return canvas;
}
let marks = [], stamps = [];

// Of very many points, the marks' pixels are copied by hand to a layer: as many calls of drawImage would take several times as long.
const MANY = 5000, OPAQUE = 190;
const layer = document.createElement("canvas");
function stampOf(mark) {
  const colours = new Uint32Array(mark.getContext("2d").getImageData(0, 0, mark.width, mark.height).data.buffer);
  const pixels = [...colours.keys()].filter((i) => colours[i] >>> 24);
  const part = (of) => of.map((i) => ({ x: i % mark.width, y: Math.floor(i / mark.width), colour: colours[i] }));
  return { edge: part(pixels.filter((i) => colours[i] >>> 24 < OPAQUE)), core: part(pixels.filter((i) => colours[i] >>> 24 >= OPAQUE)) };
}
function stampAll() {
  const w = (layer.width = plot.width), h = (layer.height = plot.height), side = marks[0].width;
  const image = new ImageData(w, h), out = new Uint32Array(image.data.buffer);
  for (const i of order) {
    const label = data.label[i], x = Math.round(px[i] * ratio - side / 2), y = Math.round(py[i] * ratio - side / 2);
    if (!shown[label] || x < 0 || y < 0 || x + side > w || y + side > h) continue;
    const corner = y * w + x, { edge, core } = stamps[label];
    for (let k = 0; k < edge.length; k++) { const at = corner + edge[k].y * w + edge[k].x; if (!out[at]) out[at] = edge[k].colour; }
    for (let k = 0; k < core.length; k++) out[corner + core[k].y * w + core[k].x] = core[k].colour;
  }
  layer.getContext("2d").putImageData(image, 0, 0);
  pen.drawImage(layer, 0, 0, width, height);
}

function place() {
  const w = width - MARGIN.left - MARGIN.right, h = height - MARGIN.top - MARGIN.bottom;
  const cx = MARGIN.left + w / 2, cy = MARGIN.top + h / 2;
  const xs = axis(pick[0]), ys = axis(pick[1]);
  if (pick[2] < 0) {
    const kx = (w / 2 / view.sx) * view.zoom, ky = (h / 2 / view.sy) * view.zoom;
    for (let i = 0; i < n; i++) { px[i] = cx + (xs[i] - view.x) * kx; py[i] = cy - (ys[i] - view.y) * ky; }
    return;
  }
  const zs = axis(pick[2]), at = camera(), depth = new Float32Array(n);
  for (let i = 0; i < n; i++) [px[i], py[i], depth[i]] = at(xs[i], ys[i], zs[i]);
  order.sort((i, j) => depth[j] - depth[i]);
}

// From three coordinates to the place on the sheet and the distance.
function camera() {
  const w = width - MARGIN.left - MARGIN.right, h = height - MARGIN.top - MARGIN.bottom;
  const cx = MARGIN.left + w / 2, cy = MARGIN.top + h / 2;
  const z = middle(pick[2]), k = (Math.min(w, h) / 2 / reach() / 1.2) * view.zoom;
  const [a, b, c, d] = [Math.cos(turn.yaw), Math.sin(turn.yaw), Math.cos(turn.pitch), Math.sin(turn.pitch)];
  return (x, y, depth) => {
    x -= view.x; y -= view.y; depth -= z;
    const across = a * x + b * depth, back = a * depth - b * x;
    return [cx + across * k, cy - (c * y - d * back) * k, d * y + c * back];
  };
}
const middle = (k) => { const [low, high] = extent(axis(k)); return (low + high) / 2; };
const reach = () => Math.max(...pick.map((k) => { const [low, high] = extent(axis(k)); return (high - low) / 2; }));

function step(range, count) {
  const raw = range / count, power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5].find((m) => m * power >= raw) || 10);
}

function drawAxes(style) {
  const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = style.ink;
  pen.strokeStyle = style.line;
  pen.lineWidth = 1;
  const tick = (v, s) => +v.toFixed(Math.max(0, -Math.floor(Math.log10(s)))) + "";
  pen.beginPath();
  const rx = view.sx / view.zoom, ry = view.sy / view.zoom;
  const kx = (right - MARGIN.left) / 2 / rx, ky = (bottom - MARGIN.top) / 2 / ry;
  const sx = step(2 * rx, Math.max(2, (right - MARGIN.left) / 80)), sy = step(2 * ry, Math.max(2, (bottom - MARGIN.top) / 60));
  pen.textAlign = "center";
  for (let v = Math.ceil((view.x - rx) / sx) * sx; v <= view.x + rx; v += sx) {
    const x = Math.round(MARGIN.left + (v - view.x + rx) * kx) + 0.5;
    pen.moveTo(x, MARGIN.top); pen.lineTo(x, bottom);
    pen.fillText(tick(v, sx), x, bottom + 16);
  }
  pen.textAlign = "right";
  for (let v = Math.ceil((view.y - ry) / sy) * sy; v <= view.y + ry; v += sy) {
    const y = Math.round(bottom - (v - view.y + ry) * ky) + 0.5;
    pen.moveTo(MARGIN.left, y); pen.lineTo(right, y);
    pen.fillText(tick(v, sy), MARGIN.left - 6, y + 4);
  }
  pen.stroke();
  pen.textAlign = "center";
  pen.fillText(data.axes[pick[0]], (MARGIN.left + right) / 2, height - 8);
  pen.save();
  pen.translate(14, (MARGIN.top + bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(data.axes[pick[1]], 0, 0);
  pen.restore();
}

function drawAxes3(style) {
  const at = camera(), centre = [view.x, view.y, middle(pick[2])], far = reach();
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = style.ink;
  pen.strokeStyle = style.soft;
  pen.lineWidth = 1;
  pen.textAlign = "center";
  pick.forEach((k, direction) => {
    const ends = [-far, far].map((length) => at(...centre.map((v, j) => v + (j === direction ? length : 0))));
    pen.beginPath();
    pen.moveTo(ends[0][0], ends[0][1]);
    pen.lineTo(ends[1][0], ends[1][1]);
    pen.stroke();
    pen.fillText(data.axes[k], ends[1][0], ends[1][1] - 6);
  });
}

function draw() {
  const css = getComputedStyle(document.documentElement);
  const style = { ink: css.getPropertyValue("--ink"), line: css.getPropertyValue("--line"), soft: css.getPropertyValue("--soft") };
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  place();
  if (pick[2] < 0) drawAxes(style); else drawAxes3(style);
  pen.save();
  pen.beginPath();
  pen.rect(MARGIN.left, MARGIN.top, width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom);
  pen.clip();
  const half = marks[0] ? marks[0].width / ratio / 2 : 0, side = 2 * half;
  if (n > MANY) stampAll();
  else for (const i of order) {
    if (shown[data.label[i]] && px[i] > MARGIN.left - side && px[i] < width + side && py[i] > -side && py[i] < height + side)
      pen.drawImage(marks[data.label[i]], px[i] - half, py[i] - half, side, side);
  }
  if (hovered >= 0) {
    pen.strokeStyle = style.ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(px[hovered], py[hovered], half + 1, 0, 7);
    pen.stroke();
  }
  pen.restore();
}
let waiting = false;
function redraw() {
  if (!waiting) requestAnimationFrame(() => { waiting = false; draw(); });
  waiting = true;
}

function resize() {
  ratio = devicePixelRatio || 1;
  width = plot.clientWidth;
  height = plot.clientHeight;
  plot.width = Math.round(width * ratio);
  plot.height = Math.round(height * ratio);
  const radius = (n > 5000 ? 2.5 : n > 1000 ? 3.5 : 5) * ratio;
  marks = data.labels.map((label) => mark(label, radius));
  if (n > MANY) stamps = marks.map(stampOf);
  if (view) draw(); else reset();
}

function nearest(x, y) {
  let best = -1, least = 14 * 14;
  for (let i = 0; i < n; i++) {
    const dx = px[i] - x, dy = py[i] - y, d = dx * dx + dy * dy;
    if (d < least && shown[data.label[i]]) { least = d; best = i; }
  }
  return best;
}

function hover(i, event) {
  if (i !== hovered) { hovered = i; redraw(); }
  tip.hidden = i < 0;
  if (i < 0) return;
  const { side, columns } = data.sheet;
  tile.width = tile.height = side;
  tile.getContext("2d").drawImage(sheet, (i % columns) * side, Math.floor(i / columns) * side, side, side, 0, 0, side, side);
  tip.querySelector("strong").textContent = data.labels[data.label[i]].name;
  tip.querySelector("span").textContent = data.path[i];
  const box = plot.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  tip.style.left = Math.min(x + 16, width - tip.offsetWidth - 4) + "px";
  tip.style.top = (y + tip.offsetHeight + 20 < height ? y + 16 : Math.max(0, y - tip.offsetHeight - 12)) + "px";
}

let held = null;
plot.addEventListener("pointerdown", (e) => { held = [e.clientX, e.clientY]; plot.setPointerCapture(e.pointerId); hover(-1); });
plot.addEventListener("pointerup", () => (held = null));
plot.addEventListener("pointerleave", () => hover(-1));
plot.addEventListener("pointermove", (e) => {
  if (!held) return hover(nearest(e.offsetX, e.offsetY), e);
  const [dx, dy] = [e.clientX - held[0], e.clientY - held[1]];
  held = [e.clientX, e.clientY];
  if (pick[2] >= 0) {
    turn.yaw += dx / 150;
    turn.pitch = Math.max(-1.5, Math.min(1.5, turn.pitch + dy / 150));
  } else {
    view.x -= (dx * 2 * view.sx) / view.zoom / (width - MARGIN.left - MARGIN.right);
    view.y += (dy * 2 * view.sy) / view.zoom / (height - MARGIN.top - MARGIN.bottom);
  }
  redraw();
});
plot.addEventListener("wheel", (e) => {
  e.preventDefault();
  const factor = Math.exp(-e.deltaY / 400), zoom = Math.max(0.5, Math.min(200, view.zoom * factor));
  if (pick[2] < 0) {
    const ux = (e.offsetX - MARGIN.left) / (width - MARGIN.left - MARGIN.right) * 2 - 1;
    const uy = 1 - (e.offsetY - MARGIN.top) / (height - MARGIN.top - MARGIN.bottom) * 2;
    view.x += ux * view.sx * (1 / view.zoom - 1 / zoom);
    view.y += uy * view.sy * (1 / view.zoom - 1 / zoom);
  }
  view.zoom = zoom;
  redraw();
}, { passive: false });
plot.addEventListener("dblclick", reset);

const counts = data.labels.map(() => 0);
for (const label of data.label) counts[label]++;
const legend = document.getElementById("legend");
data.labels.forEach((label, k) => {
  const button = document.createElement("button");
  const swatch = mark(label, 6);
  button.append(swatch, document.createTextNode(label.name + " (" + counts[k] + ")"));
  button.setAttribute("aria-pressed", "true");
  button.title = "click: show or hide; double-click: only this one";
  const press = () => legend.querySelectorAll("button").forEach((b, j) => b.setAttribute("aria-pressed", shown[j]));
  button.addEventListener("click", () => { shown[k] = !shown[k]; press(); redraw(); });
  button.addEventListener("dblclick", () => {
    const alone = shown.every((s, j) => s === (j === k));
    shown.forEach((_, j) => (shown[j] = alone || j === k));
    press();
    redraw();
  });
  legend.append(button);
});

document.querySelectorAll("select").forEach((select, which) => {
  if (which === 2) select.append(new Option("flat", -1));
  data.axes.forEach((name, k) => select.append(new Option(name, k)));
  select.value = pick[which];
  select.addEventListener("change", () => { pick[which] = +select.value; order = order.sort((i, j) => i - j); reset(); });
});
document.getElementById("reset").addEventListener("click", reset);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(resize).observe(plot);
