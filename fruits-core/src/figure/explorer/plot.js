// A panel shows one view. Its camera is one affine map from three coordinates to pixels, which marks, photos and gestures all share.
const $ = (id) => document.getElementById(id);
const stage = $("stage"), plot = $("plot"), paper = $("paper").getContext("2d"), pen = plot.getContext("2d");
const panels = data.views.map((view, k) => look({
  id: "panel" + k, view, pick: [0, Math.min(1, view.axes.length - 1), -1], px: new Float32Array(n), py: new Float32Array(n),
}));
const within = ({ x, y, w, h }, px, py) => px >= x && py >= y && px <= x + w && py <= y + h;
const shownPanels = () => (state.all ? panels : [panels[state.view]]);
const radius = n > 100000 ? 1.7 : n > 20000 ? 2.1 : n > 5000 ? 2.6 : n > 1000 ? 3.5 : 5;
const SMALLEST = 24, LARGEST = 96, FONT = "12px system-ui, sans-serif";
let drawer = canvasDrawer(), width = 0, height = 0, ratio = 1, theme = {};

function look(panel) {
  panel.eye = { x: 0, y: 0, zoom: 1, yaw: 0.6, pitch: 0.4 };
  return panel;
}

const TITLE = 50; // and above it, tools
function arrange() {
  const all = shownPanels(), across = Math.min(all.length, Math.max(1, Math.floor(width / 240))), down = Math.ceil(all.length / across);
  const w = width / across, h = height / down;
  all.forEach((panel, k) => {
    const [left, right, top, bottom] = panel.view.isMap || panel.pick[2] >= 0 ? [8, 8, 8, 8] : [52, 12, 10, 40];
    const x = (k % across) * w + left, y = Math.floor(k / across) * h + top + (state.all ? TITLE : 0);
    panel.box = { x, y, w: Math.max(1, w - left - right), h: Math.max(1, h - top - bottom - (state.all ? TITLE : 0)) };
  });
}

function camera({ box: { x, y, w, h }, eye, pick, view }) {
  const [across, up, depth] = pick.map((k) => view.axes[k]), cx = x + w / 2, cy = y + h / 2;
  if (!depth) {
    let kx = (w / 2 / across.half) * eye.zoom, ky = (h / 2 / up.half) * eye.zoom;
    if (view.isMap) kx = ky = Math.min(kx, ky);
    return [[kx, 0, 0, cx - eye.x * kx], [0, -ky, 0, cy + eye.y * ky], [0, 0, 0, 0]];
  }
  const reach = Math.max(across.half, up.half, depth.half), k = (Math.min(w, h) / 2.1 / reach) * eye.zoom, z = 0.5 / reach;
  const [a, b, c, d] = [Math.cos(eye.yaw), Math.sin(eye.yaw), Math.cos(eye.pitch), Math.sin(eye.pitch)];
  return [[a * k, 0, b * k, cx], [-d * b * k, -c * k, d * a * k, cy], [-c * b * z, d * z, c * a * z, 0]];
}
const project = (m, p) => m.map(([a, b, c, d]) => a * p[0] + b * p[1] + c * p[2] + d);

function place(panel) {
  const m = (panel.camera = camera(panel)), [xs, ys, zs = ys] = panel.pick.map((k) => panel.view.axes[k]?.values);
  const [[a, b, c, d], [e, f, g, h]] = m;
  for (let i = 0; i < n; i++) {
    panel.px[i] = a * xs[i] + b * ys[i] + c * zs[i] + d;
    panel.py[i] = e * xs[i] + f * ys[i] + g * zs[i] + h;
  }
}

function clipped(pen, { box }, paint) {
  pen.save();
  pen.beginPath();
  pen.rect(box.x, box.y, box.w, box.h);
  pen.clip();
  paint();
  pen.restore();
}

function ticks(middle, reach, count) {
  const raw = (2 * reach) / Math.max(2, count), power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((m) => m * power >= raw) || 10), digits = Math.max(0, -Math.floor(Math.log10(step)));
  const first = Math.ceil((middle - reach) / step), last = Math.floor((middle + reach) / step);
  const values = Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step);
  return values.map((value) => ({ value, text: String(+value.toFixed(digits)) }));
}

function drawAxes({ box: { x, y, w, h }, eye, pick, view, camera: [[kx], [, ky]] }) {
  const [across, up] = pick.map((k) => view.axes[k]), middle = [eye.x + across.middle, eye.y + up.middle];
  paper.beginPath();
  for (const { value, text } of ticks(middle[0], w / 2 / kx, w / 80)) {
    const at = Math.round(x + w / 2 + (value - middle[0]) * kx) + 0.5;
    paper.moveTo(at, y); paper.lineTo(at, y + h);
    paper.fillText(text, at, y + h + 15);
  }
  paper.textAlign = "right";
  for (const { value, text } of ticks(middle[1], h / 2 / -ky, h / 60)) {
    const at = Math.round(y + h / 2 + (value - middle[1]) * ky) + 0.5;
    paper.moveTo(x, at); paper.lineTo(x + w, at);
    paper.fillText(text, x - 6, at + 4);
  }
  paper.stroke();
  paper.textAlign = "center";
  paper.fillText(across.name, x + w / 2, y + h + 33);
  paper.save();
  paper.translate(x - 40, y + h / 2);
  paper.rotate(-Math.PI / 2);
  paper.fillText(up.name, 0, 0);
  paper.restore();
}

function drawAxes3({ pick, view, camera }) {
  Object.assign(pen, { font: FONT, fillStyle: theme.ink, strokeStyle: theme.soft, lineWidth: 1, textAlign: "center", globalAlpha: 0.8 });
  const reach = Math.max(...pick.map((k) => view.axes[k].half));
  pick.forEach((k, direction) => {
    const [[x0, y0], [x1, y1]] = [-reach, reach].map((length) => project(camera, [0, 1, 2].map((j) => (j === direction ? length : 0))));
    pen.beginPath();
    pen.moveTo(x0, y0); pen.lineTo(x1, y1);
    pen.stroke();
    pen.fillText(view.axes[k].name, x1, y1 - 6);
  });
  pen.globalAlpha = 1;
}

function drawPaper(panel) {
  Object.assign(paper, { font: FONT, fillStyle: theme.soft, strokeStyle: theme.line, lineWidth: 1, textAlign: "center" });
  if (panel.pick[2] < 0 && !panel.view.isMap) drawAxes(panel);
  if (!state.all) return;
  Object.assign(paper, { fillStyle: theme.ink, font: "600 " + FONT, textAlign: "left" });
  paper.fillText(panel.view.name, panel.box.x + 2, panel.box.y - 8);
}

// Photos are shown where they cover at most a third of the panel, and grow with the distance to the nearest other one. A side of 0: dots.
function closeUp(panel) {
  const { px, py, box } = panel, inView = [], most = (box.w * box.h) / 3 / SMALLEST ** 2, always = state.photos === "always";
  if (state.photos === "never") return { side: 0, inView };
  for (const group of groups) for (const i of group) {
    if (!within(box, px[i], py[i])) continue;
    if (inView.push(i) > most && !always) return { side: 0, inView };
  }
  const every = 2 ** Math.max(0, Math.ceil(Math.log2(inView.length / most))); // going closer adds photos and takes none away
  const some = every > 1 ? inView.filter((i) => i % every === 0) : inView;
  const distance = (i, j) => (i === j ? LARGEST : Math.max(Math.abs(px[i] - px[j]), Math.abs(py[i] - py[j])));
  const apart = some.map((i) => Math.min(LARGEST, ...some.map((j) => distance(i, j)))).sort((a, b) => a - b);
  const side = Math.max(SMALLEST, Math.min(LARGEST, Math.round(1.4 * apart[apart.length >> 1])));
  return { side: some.length ? side : 0, inView: some };
}

function photo(panel, i, side) {
  const x = panel.px[i] - side / 2, y = panel.py[i] - side / 2;
  thumbnail(pen, i, x, y, side);
  pen.lineWidth = side > 40 ? 2 : 1.5;
  pen.strokeStyle = state.column.colours[state.column.colour(i)];
  pen.strokeRect(x, y, side, side);
}

function outline({ px, py, side }, i, r, colour) {
  pen.beginPath();
  if (side) pen.rect(px[i] - side / 2 - 2, py[i] - side / 2 - 2, side + 4, side + 4);
  else pen.arc(px[i], py[i], r, 0, 7);
  for (const [strokeStyle, lineWidth] of [[theme.paper, 4], [colour, 2]]) { Object.assign(pen, { strokeStyle, lineWidth }); pen.stroke(); }
}

function drawOverlay(panel) {
  const { px, py } = panel, { inView, side } = panel.photos, { pinned, hovered } = state, r = sizeOf(panel) + 2;
  panel.side = side;
  if (panel.pick[2] >= 0) drawAxes3(panel);
  for (const i of side ? inView : []) { pen.globalAlpha = bright(i) ? 1 : 0.2; photo(panel, i, side); }
  pen.globalAlpha = 1;
  if (pinned >= 0) {
    pen.beginPath();
    for (const j of neighboursOf(pinned)) { pen.moveTo(px[pinned], py[pinned]); pen.lineTo(px[j], py[j]); }
    Object.assign(pen, { strokeStyle: theme.accent, lineWidth: 1 });
    pen.stroke();
    for (const j of neighboursOf(pinned)) if (side) photo(panel, j, side); else outline(panel, j, r, theme.accent);
    if (side) photo(panel, pinned, side);
    outline(panel, pinned, r + 3, theme.accent);
  }
  if (hovered >= 0) {
    if (side) photo(panel, hovered, side);
    outline(panel, hovered, r, theme.ink);
  }
}

function drawLine(line) {
  pen.beginPath();
  line.forEach(([x, y], k) => pen[k ? "lineTo" : "moveTo"](x, y));
  pen.closePath();
  Object.assign(pen, { strokeStyle: theme.accent, lineWidth: 1.5, fillStyle: theme.accent, globalAlpha: 0.1 });
  pen.fill();
  pen.globalAlpha = 1;
  pen.stroke();
}

// "all": groups, colours or axes changed; "camera": the place changed; "overlay": only rings and lines did.
let due = null;
const order = ["overlay", "camera", "all"];
function redraw(what = "overlay") {
  if (due === null) requestAnimationFrame(draw);
  due = Math.max(due ?? 0, order.indexOf(what));
}

function draw() {
  if (!width) return; // resize comes back to it
  const all = shownPanels(), level = due;
  due = null;
  if (level === 2) { group(); drawer.refresh(); }
  if (level >= 1) {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink", "soft", "line", "paper", "accent"]) theme[name] = style.getPropertyValue("--" + name);
    paper.setTransform(ratio, 0, 0, ratio, 0, 0);
    paper.clearRect(0, 0, width, height);
    arrange();
    for (const panel of all) { place(panel); drawPaper(panel); panel.photos = closeUp(panel); }
    drawer.draw(all);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  for (const panel of all) clipped(pen, panel, () => drawOverlay(panel));
  if (drag?.line) drawLine(drag.line);
}

function resize() {
  ratio = devicePixelRatio || 1;
  [width, height] = [stage.clientWidth, stage.clientHeight];
  const size = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
  for (const canvas of [plot, paper.canvas]) Object.assign(canvas, size);
  redraw("camera");
  draw();
}
