// Gestures on the plot. One pointer moves, turns or draws a line around photos; two zoom.
const pointers = new Map();
let drag = null;
const panelAt = (x, y) => shownPanels().find(({ box }) => within(box, x, y));

function zoom(panel, factor, x = panel.box.x + panel.box.w / 2, y = panel.box.y + panel.box.h / 2) {
  const { eye, box } = panel, [[kx], [, ky]] = camera(panel), to = Math.max(0.4, Math.min(5000, eye.zoom * factor));
  if (panel.pick[2] < 0) {
    const share = 1 - eye.zoom / to; // what is under the pointer stays there
    eye.x += ((x - box.x - box.w / 2) / kx) * share;
    eye.y += ((y - box.y - box.h / 2) / ky) * share;
  }
  eye.zoom = to;
  redraw("camera");
}

function pan(panel, dx, dy) {
  const { eye, pick } = panel, [[kx], [, ky]] = camera(panel);
  if (pick[2] < 0) { eye.x -= dx / kx; eye.y -= dy / ky; }
  else { eye.yaw += dx / 150; eye.pitch = Math.max(-1.5, Math.min(1.5, eye.pitch + dy / 150)); }
  redraw("camera");
}

function reset() {
  shownPanels().forEach(look);
  redraw("camera");
}

function nearest(x, y) {
  const panel = panelAt(x, y);
  if (!panel) return -1;
  const reach = Math.max(14, panel.side / 2 + 2), { px, py } = panel;
  let best = -1, least = reach * reach;
  for (let i = 0; i < n; i++) {
    const dx = px[i] - x, dy = py[i] - y, d = dx * dx + dy * dy;
    if (d < least && visible(i)) { least = d; best = i; }
  }
  return best;
}

function inside(line, x, y) {
  let odd = false;
  for (let k = 0, j = line.length - 1; k < line.length; j = k++) {
    const [x0, y0] = line[k], [x1, y1] = line[j];
    if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) odd = !odd;
  }
  return odd;
}

function enclosed({ px, py, box }, line) {
  const [left, right] = extent(line.map(([x]) => x)), [top, bottom] = extent(line.map(([, y]) => y)), all = [];
  for (let i = 0; i < n; i++) {
    const x = px[i], y = py[i];
    if (x < left || x > right || y < top || y > bottom || !within(box, x, y) || !visible(i)) continue;
    if (inside(line, x, y)) all.push(i);
  }
  return all;
}

const spot = ({ clientX, clientY }) => { const { left, top } = plot.getBoundingClientRect(); return [clientX - left, clientY - top]; };
plot.addEventListener("pointerdown", (e) => {
  if (e.button) return;
  const at = spot(e), panel = panelAt(...at);
  plot.setPointerCapture(e.pointerId);
  pointers.set(e.pointerId, at);
  hover(-1);
  drag = null;
  if (pointers.size > 1 || !panel) return redraw();
  const mode = e.shiftKey ? "lasso" : state.mode;
  drag = { panel, mode, start: at, moved: false, line: mode === "move" ? null : [at], add: e.ctrlKey || e.metaKey };
});
plot.addEventListener("pointermove", (e) => {
  const at = spot(e), last = pointers.get(e.pointerId);
  if (!last) return hover(nearest(...at), at);
  pointers.set(e.pointerId, at);
  if (pointers.size === 2) return pinch(e.pointerId, last, at);
  if (!drag || (!drag.moved && Math.hypot(at[0] - drag.start[0], at[1] - drag.start[1]) < 4)) return;
  drag.moved = true;
  const [[x0, y0], [x, y]] = [drag.start, at];
  if (drag.mode === "move") pan(drag.panel, x - last[0], y - last[1]);
  else if (drag.mode === "box") drag.line = [[x0, y0], [x, y0], [x, y], [x0, y]];
  else drag.line.push(at);
  redraw();
});
function pinch(id, last, at) {
  const other = [...pointers].find(([key]) => key !== id)[1], panel = panelAt(...other);
  if (!panel) return;
  const apart = (p) => Math.max(20, Math.hypot(p[0] - other[0], p[1] - other[1]));
  zoom(panel, apart(at) / apart(last), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
  if (panel.pick[2] < 0) pan(panel, (at[0] - last[0]) / 2, (at[1] - last[1]) / 2);
}
plot.addEventListener("pointerup", (e) => {
  const done = drag;
  drag = null;
  pointers.delete(e.pointerId);
  if (!done) return;
  if (done.moved && done.line) return choose(enclosed(done.panel, done.line), done.add);
  if (done.moved) return;
  const i = nearest(...done.start);
  if (e.pointerType !== "mouse") hover(i, done.start);
  pin(i);
});
plot.addEventListener("pointercancel", (e) => { pointers.delete(e.pointerId); drag = null; redraw(); });
plot.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && hover(-1));
plot.addEventListener("wheel", (e) => {
  const at = spot(e), panel = panelAt(...at);
  if (!panel) return;
  e.preventDefault();
  hover(-1);
  zoom(panel, Math.exp(-e.deltaY * (e.deltaMode ? 16 : 1) / 400), ...at);
}, { passive: false });
plot.addEventListener("dblclick", reset);

const keys = {
  ArrowLeft: () => panAll(40, 0), ArrowRight: () => panAll(-40, 0), ArrowUp: () => panAll(0, 40), ArrowDown: () => panAll(0, -40),
  "+": () => closer(1.3), "=": () => closer(1.3), "-": () => closer(1 / 1.3), 0: reset,
  m: () => setMode("move"), l: () => setMode("lasso"), b: () => setMode("box"),
  n: () => step(1), p: () => step(-1), Enter: () => state.hovered >= 0 && pin(state.hovered),
};
const panAll = (dx, dy) => shownPanels().forEach((panel) => pan(panel, dx, dy));
const closer = (factor) => shownPanels().forEach((panel) => zoom(panel, factor));
stage.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || !keys[e.key] || (e.key === "Enter" && e.target !== plot)) return;
  e.preventDefault();
  keys[e.key]();
});
document.addEventListener("keydown", (e) => {
  if (e.key !== "Escape") return;
  if (drag?.line) { drag = null; redraw(); }
  else if (state.pinned >= 0) pin(-1);
  else if (state.chosen.size) choose([]);
});

// From photo to photo by keyboard, among those in view.
function step(by) {
  const [{ px, py, box }] = shownPanels();
  for (let k = 1, i = state.hovered; k <= n; k++) {
    i = (i + by + n + (i < 0 && by < 0)) % n;
    if (!visible(i) || !within(box, px[i], py[i])) continue;
    return hover(i, [px[i], py[i]]);
  }
}
