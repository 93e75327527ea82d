// Marks of all photos: by deck.gl, or by a canvas where there is no WebGL or no library.
// What fades lies below what does not; hidden photos are in no group.
let groups = [[], []];
function group() {
  groups = [[], []];
  for (let i = 0; i < n; i++) if (visible(i)) groups[+bright(i)].push(i);
}

function trace(pen, shape, x, y, r) {
  if (!shape.length) { pen.moveTo(x + r, y); pen.arc(x, y, r, 0, 7); }
  shape.forEach((corner, k) => pen[k ? "lineTo" : "moveTo"](x + corner[0] * r, y + corner[1] * r));
  pen.closePath();
}
const FADED = 0.15, SOLID = 0.85;
const sizeOf = (panel) => radius * Math.min(2.2, Math.max(0.8, panel.eye.zoom ** 0.25)) * (state.all && n > 1000 ? 0.85 : 1);

function canvasDrawer() {
  const draw = (all) => {
    for (const panel of all) clipped(paper, panel, () => (n > 5000 ? stampMarks : traceMarks)(panel));
    stage.dataset.drawn = "canvas";
  };
  return { draw, refresh() {} };
}

function traceMarks(panel) {
  const r = sizeOf(panel), { px, py } = panel, { colour, shape, colours } = state.column;
  const [zs, [a, b, c]] = [panel.pick.map((k) => panel.view.axes[k]?.values), panel.camera[2]];
  const depth = (i) => a * zs[0][i] + b * zs[1][i] + c * zs[2][i];
  groups.forEach((group, k) => {
    paper.globalAlpha = k ? SOLID : FADED;
    for (const i of zs[2] ? [...group].sort((i, j) => depth(j) - depth(i)) : group) {
      paper.fillStyle = colours[colour(i)];
      paper.beginPath();
      trace(paper, shapes[shape(i)], px[i], py[i], r);
      paper.fill();
    }
  });
}

// Of very many, pixels are set by hand: as many paths would take ten times as long.
const layer = document.createElement("canvas");
function stampMarks(panel) {
  const { px, py, box } = panel, { colour, shape, colours } = state.column, r = sizeOf(panel) * ratio, far = Math.ceil(1.4 * r);
  const w = Math.ceil(box.w * ratio), h = Math.ceil(box.h * ratio), image = new ImageData(w, h), out = new Uint32Array(image.data.buffer);
  const side = [...Array(2 * far + 1).keys()].map((k) => k - far), all = side.flatMap((y) => side.map((x) => [x, y]));
  const covers = (shape, x, y) => (shape.length ? inside(shape, x, y) : x * x + y * y <= 1);
  const stamps = shapes.map((shape) => all.filter(([x, y]) => covers(shape, x / r, y / r)).map(([x, y]) => y * w + x));
  groups.forEach((group, k) => {
    const alpha = 255 * (k ? SOLID : FADED), inks = colours.map(rgb).map(([r, g, b]) => (alpha << 24) | (b << 16) | (g << 8) | r);
    for (const i of group) {
      const x = Math.round((px[i] - box.x) * ratio), y = Math.round((py[i] - box.y) * ratio);
      if (x < far || y < far || x >= w - far || y >= h - far) continue;
      const ink = inks[colour(i)], stamp = stamps[shape(i)], at = y * w + x;
      for (let j = 0; j < stamp.length; j++) out[at + stamp[j]] = ink;
    }
  });
  Object.assign(layer, { width: w, height: h }).getContext("2d").putImageData(image, 0, 0);
  paper.drawImage(layer, box.x, box.y, w / ratio, h / ratio);
}

// Of a polygon's edges, the one a point is farthest outside of tells how far outside it is: in GLSL, in units of the radius.
function distance(shape) {
  const edge = ([x0, y0], k) => {
    const [x1, y1] = shape[(k + 1) % shape.length], length = Math.hypot(x1 - x0, y1 - y0);
    const [x, y] = [(y1 - y0) / length, (x0 - x1) / length]; // outwards, as corners go clockwise
    return `dot(p, vec2(${x.toFixed(5)}, ${y.toFixed(5)})) - ${(x * x0 + y * y0).toFixed(5)}`;
  };
  return shape.length ? shape.map(edge).reduce((a, b) => `max(${a}, ${b})`) : "length(p) - 1.0";
}
const BLOCK = `layout(std140) uniform marksUniforms {
  mat4 camera;
  float radius;
  float alpha;
} marks;`;
const VERTEX = `#version 300 es
  in vec3 positions; in vec4 colors; out vec4 color; flat out int shape;
  void main() {
    gl_Position = marks.camera * vec4(positions, 1.0);
    gl_PointSize = ceil(3.0 * marks.radius);
    color = vec4(colors.rgb, marks.alpha);
    shape = int(colors.a * 255.0 + 0.5);
  }`;
const FRAGMENT = `#version 300 es
  precision highp float;
  in vec4 color; flat in int shape; out vec4 fragColor;
  void main() {
    vec2 p = 3.0 * (gl_PointCoord - 0.5);
    float outside = ${shapes.map((shape, k) => (k < shapes.length - 1 ? `shape == ${k} ? ` : "") + distance(shape)).join(" : ")};
    float a = clamp(0.5 - outside / fwidth(p.x), 0.0, 1.0);
    if (a < 0.1) discard;
    fragColor = vec4(color.rgb, color.a * a);
  }`;

function deckDrawer({ Deck, Layer, OrthographicView }, { Model }, failed) {
  // A vertex a photo: the squares of deck's own layers take fifty times as long where there is no graphics card.
  class Marks extends Layer {
    initializeState() {
      const attributes = this.getAttributeManager(), { device } = this.context;
      const block = { name: "marks", vs: BLOCK, fs: BLOCK, uniformTypes: { camera: "mat4x4<f32>", radius: "f32", alpha: "f32" } };
      attributes.add({ positions: { size: 3, accessor: "getPosition" }, colors: { size: 4, type: "unorm8", accessor: "getColor" } });
      const shaders = this.getShaders({ vs: VERTEX, fs: FRAGMENT, modules: [block] });
      const model = new Model(device, { ...shaders, id: this.id, bufferLayout: attributes.getBufferLayouts(), topology: "point-list" });
      this.setState({ model });
    }
    draw() {
      const { model } = this.state, { camera, radius, alpha } = this.props;
      model.shaderInputs.setProps({ marks: { camera, radius, alpha } });
      model.setVertexCount(this.props.data.length);
      model.draw(this.context.renderPass);
    }
  }
  Marks.layerName = "Marks";
  const deck = new Deck({
    parent: $("marks"), views: [], layers: [], initialViewState: { target: [0, 0], zoom: 0 }, controller: false,
    deviceProps: { type: "webgl", webgl: { antialias: false } }, // the shader smooths edges
    onLoad: () => redraw("all"), onError: failed,
    layerFilter: ({ layer, viewport }) => layer.props.panel === viewport.id,
  });
  // Buffers are filled anew when groups, colours or axes change; a moving camera changes one matrix.
  const buffers = (panel, group) => {
    const [xs, ys, zs] = panel.pick.map((k) => panel.view.axes[k]?.values), { colour, shape, colours } = state.column;
    const at = new Float32Array(3 * group.length), tint = new Uint8ClampedArray(4 * group.length), table = colours.map(rgb);
    group.forEach((i, k) => {
      at.set([xs[i], ys[i], zs ? zs[i] : 0], 3 * k);
      tint.set(table[colour(i)], 4 * k);
      tint[4 * k + 3] = shape(i);
    });
    return { length: group.length, attributes: { getPosition: { value: at, size: 3 }, getColor: { value: tint, size: 4 } } };
  };
  // From pixels of the stage to the panel's square from -1 to 1, column by column.
  const clip = ({ camera: [xs, ys, zs], box: { x, y, w, h } }) => xs.flatMap((v, k) =>
    [(2 * (v - (k === 3) * (x + w / 2))) / w, (2 * ((k === 3) * (y + h / 2) - ys[k])) / h, zs[k], +(k === 3)]);
  const marks = (panel, k) => new Marks({
    id: panel.id + k, panel: panel.id, data: panel.buffers[k], camera: clip(panel), radius: sizeOf(panel) * ratio, alpha: k ? SOLID : FADED,
    parameters: { depthWriteEnabled: panel.pick[2] >= 0 && k === 1, depthCompare: panel.pick[2] >= 0 ? "less-equal" : "always" },
  });
  const draw = (all) => {
    const views = all.map(({ id, box: { x, y, w, h } }) => new OrthographicView({ id, x, y, width: w, height: h }));
    for (const panel of all) panel.buffers ||= groups.map((group) => buffers(panel, group));
    deck.setProps({ views, layers: all.flatMap((panel) => [marks(panel, 0), marks(panel, 1)]) });
    deck.redraw(); // now, in the same frame as the overlay
    if (deck.isInitialized) stage.dataset.drawn = "webgl";
  };
  $("marks").addEventListener("webglcontextlost", failed, { capture: true, once: true });
  return { draw, refresh: () => panels.forEach((panel) => (panel.buffers = null)), end: () => deck.finalize() };
}

