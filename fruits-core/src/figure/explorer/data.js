"use strict";
// What the page brings: photos, their places in each view, and what is known of them in columns.
const data = JSON.parse(take("data"));
const { n, columns, marks: { colours, shapes }, thumbnails } = data;

function take(id) {
  const element = document.getElementById(id);
  element?.remove(); // many megabytes
  return element?.textContent;
}

function unpack(base64, Type = Uint8Array) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Type(bytes.buffer);
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}

// Coordinates are kept around the middle of what there is: a graphics card has no digits to spare for a far origin.
function axis(name, values) {
  const [low, high] = extent(values), middle = (low + high) / 2;
  for (let i = 0; i < n; i++) values[i] -= middle;
  return { name, values, middle, half: 0.54 * (high - low) || 1 };
}

for (const view of data.views) {
  const all = unpack(view.at, Float32Array);
  view.axes = view.axes.map((name, k) => axis(name, all.subarray(k * n, (k + 1) * n)));
  delete view.at;
}

// Lightness grows evenly, within what can be seen on white and on black.
const STOPS = ["#5b3f9b", "#3d62ae", "#2b83a6", "#2aa08a", "#5cb563", "#a3be42", "#dcbf3a"], STEPS = 120, MISSING = "#8b929b";
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
function ramp(share) {
  const at = Math.min(share * (STOPS.length - 1), STOPS.length - 1.001), [a, b] = [rgb(STOPS[at | 0]), rgb(STOPS[(at | 0) + 1])];
  return "#" + a.map((v, k) => Math.round(v + (b[k] - v) * (at % 1)).toString(16).padStart(2, "0")).join("");
}

// A column gives each photo a mark: the index of a colour and of a shape.
for (const column of columns) {
  if (column.names) {
    column.codes = unpack(column.codes, Uint32Array);
    column.counts = new Uint32Array(column.names.length);
    for (const code of column.codes) column.counts[code]++;
    column.shown = column.names.map(() => true);
    column.colours = colours;
    column.colour = (i) => column.codes[i] % colours.length;
    column.shape = (i) => Math.floor(column.codes[i] / colours.length) % shapes.length;
    column.text = (i) => column.names[column.codes[i]];
  } else {
    const values = (column.values = unpack(column.values, Float32Array)), [low, high] = extent(values), range = high - low || 1;
    column.extent = [low, high];
    column.missing = values.reduce((sum, v) => sum + isNaN(v), 0);
    column.colours = [...Array.from({ length: STEPS }, (_, k) => ramp(k / (STEPS - 1))), MISSING];
    column.colour = (i) => (isNaN(values[i]) ? STEPS : Math.round(((values[i] - low) / range) * (STEPS - 1)));
    column.shape = () => 0;
    column.text = (i) => (isNaN(values[i]) ? "" : figures(values[i]));
  }
}
const figures = (value) => String(+value.toPrecision(4));
const label = columns[0].text;
const row = (i) => (data.rows ? data.rows[i] : i);
const neighbours = data.neighbours && unpack(data.neighbours.of, Uint32Array);
const neighboursOf = (i) => (neighbours ? [...neighbours.subarray(i * data.neighbours.count, (i + 1) * data.neighbours.count)] : []);

const state = {
  view: 0, all: false, column: columns[0], photos: "when close", mode: "move", // what the controls say; all: views side by side
  hovered: -1, pinned: -1, chosen: new Set(), found: null,
};
const visible = (i) => !state.column.names || state.column.shown[state.column.codes[i]];
const bright = (i) => (!state.chosen.size && !state.found) || state.chosen.has(i) || !!state.found?.has(i);

// Thumbnails lie on sheets, which are decoded when first wanted.
const sheets = [], tiles = thumbnails.tiles && unpack(thumbnails.tiles, Int32Array);
function thumbnail(pen, i, x, y, size) {
  const { side, perSheet } = thumbnails, tile = tiles ? tiles[i] : i, number = Math.floor(tile / perSheet), at = tile % perSheet;
  if (!sheets[number] && thumbnails.sheets[number]) {
    sheets[number] = new Image();
    sheets[number].src = thumbnails.sheets[number];
    sheets[number].decode().then(() => document.dispatchEvent(new Event("sheet")), () => {});
  }
  pen.fillStyle = "#80808080";
  if (!sheets[number]?.complete) return pen.fillRect(x, y, size, size);
  const sx = (at % thumbnails.columns) * side, sy = Math.floor(at / thumbnails.columns) * side;
  pen.drawImage(sheets[number], sx, sy, side, side, x, y, size, size);
}
