// Everything beside the plot. Names come from outside: they are only ever set as text.
function element(tag, props = {}, ...children) {
  const { dataset, ...rest } = props, made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}
const button = (text, onclick, props) => element("button", { textContent: text, onclick, ...props });
const headline = (text, button) => element("header", {}, element("h2", {}, text), button);
const number = (value) => value.toLocaleString("en");

function picture(width, height, paint) {
  const canvas = element("canvas", { width: width * ratio, height: height * ratio }), pen = canvas.getContext("2d");
  Object.assign(canvas.style, { width: width + "px", height: height + "px" });
  pen.scale(ratio, ratio);
  paint(pen);
  return canvas;
}
const tile = (i, side) => Object.assign(picture(side, side, (pen) => thumbnail(pen, i, 0, 0, side)), { className: "tile", photo: i, side });
document.addEventListener("sheet", () => {
  for (const canvas of document.querySelectorAll("canvas.tile")) thumbnail(canvas.getContext("2d"), canvas.photo, 0, 0, canvas.side);
  redraw();
});
const swatch = (column, code) => picture(14, 14, (pen) => {
  pen.fillStyle = colours[code % colours.length];
  pen.beginPath();
  trace(pen, shapes[Math.floor(code / colours.length) % shapes.length], 7, 7, 5);
  pen.fill();
});

function hover(i, at) {
  const tip = $("tip");
  if (i !== state.hovered) {
    state.hovered = i;
    redraw();
    if (i >= 0) {
      const { column } = state, text = column.name + ": " + (column.text(i) || "missing");
      const value = column === columns[0] ? [] : [element("div", {}, text)];
      tip.replaceChildren(tile(i, 144), element("strong", {}, label(i)), ...value, element("small", {}, data.path[i]));
    }
  }
  tip.hidden = i < 0;
  plot.style.cursor = i >= 0 ? "pointer" : state.mode === "move" ? "grab" : "crosshair";
  if (i < 0) return;
  const [x, y] = at, { offsetWidth: w, offsetHeight: h } = tip;
  tip.style.left = (x + 18 + w < width ? x + 18 : Math.max(4, x - w - 18)) + "px";
  tip.style.top = Math.max(4, Math.min(y - h / 3, height - h - 4)) + "px";
}

function pin(i) {
  state.pinned = i;
  const section = $("pinned");
  section.hidden = i < 0;
  if (i >= 0) {
    const rows = [["path", data.root + data.path[i]], ...columns.slice(1).map((column) => [column.name, column.text(i) || "missing"])];
    const near = neighboursOf(i);
    section.replaceChildren(
      headline(label(i), button("Unpin", () => pin(-1), { title: "Unpin (Escape)" })),
      tile(i, 160),
      element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    );
    if (near.length) section.append(element("h3", {}, "Most alike"), photos(near, true));
    $("side").scrollTop = 0;
  }
  redraw();
}

// A grid of photos to go on from.
function photos(list, named) {
  return element("div", { className: "photos" + (named ? " named" : "") }, ...list.map((i) => {
    const name = label(i) + ", " + data.path[i], made = button("", () => pin(i), { title: name, ariaLabel: name });
    Object.assign(made, { onmouseenter: () => ring(i), onmouseleave: () => ring(-1) });
    made.append(tile(i, named ? 64 : 38));
    if (named) made.append(element("span", {}, label(i)));
    return made;
  }));
}
function ring(i) {
  state.hovered = i;
  redraw();
}

function choose(list, add = false) {
  state.chosen = new Set(add ? [...state.chosen, ...list] : list);
  const section = $("chosen"), all = [...state.chosen].sort((a, b) => a - b), counts = new Map();
  section.hidden = !all.length;
  redraw("all");
  if (!all.length) return section.replaceChildren();
  for (const i of all) counts.set(columns[0].codes[i], (counts.get(columns[0].codes[i]) || 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]), output = element("div", { className: "output" });
  section.replaceChildren(
    headline(number(all.length) + " chosen", button("Clear", () => choose([]), { title: "Clear (Escape)" })),
    element("div", { className: "row" }, ...Object.entries(formats).map(([name, [file, text]]) =>
      button(name, () => show(output, file, text(all)), { title: file }))),
    output,
    element("ul", {}, ...most.slice(0, 8).map(([code, count]) => element("li", {}, swatch(columns[0], code),
      element("span", {}, columns[0].names[code]), element("b", {}, number(count))))),
    ...(most.length > 8 ? [element("p", {}, "and " + (most.length - 8) + " more labels")] : []),
    photos(all.slice(0, 60), false),
    ...(all.length > 60 ? [element("p", {}, "and " + number(all.length - 60) + " more photos")] : []),
  );
}

// A spreadsheet takes text that begins with one of these for a formula.
const cell = (value) => '"' + String(value).replace(/^[=+\-@\t\r]/, "'$&").replace(/"/g, '""') + '"';
const quoted = (value) => (typeof value === "string" && /^[=+\-@\t\r]|[",\r\n]/.test(value) ? cell(value) : String(value));
const formats = {
  Rust: ["chosen.rs", (all) => `let chosen = ${data.name}.take(&[${all.map(row).join(", ")}])?;`],
  CSV: ["chosen.csv", (all) => {
    const more = columns.slice(1), value = (column, i) => (column.names ? column.text(i) : isNaN(column.values[i]) ? "" : column.values[i]);
    const head = ["path", "label", "row", ...more.map((column) => column.name)];
    const lines = all.map((i) => [data.root + data.path[i], label(i), row(i), ...more.map((column) => value(column, i))]);
    return [head, ...lines].map((line) => line.map(quoted).join(",") + "\r\n").join("");
  }],
  paths: ["chosen.txt", (all) => all.map((i) => data.root + data.path[i] + "\n").join("")],
};

function show(output, file, text) {
  const area = element("textarea", { readOnly: true, value: text, rows: 5, spellcheck: false });
  area.setAttribute("aria-label", file);
  const copy = button("Copy", async () => {
    area.select();
    if (!document.execCommand("copy")) await navigator.clipboard.writeText(text); // which a frame may not use
    copy.textContent = "Copied";
  });
  const save = button("Save", () => {
    const link = element("a", { download: file, href: URL.createObjectURL(new Blob([text])) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  output.replaceChildren(area, element("div", { className: "row" }, copy, save));
}

function legend() {
  const { column } = state, section = $("legend");
  section.replaceChildren(element("h2", {}, column.name));
  if (!column.names) {
    const stops = STOPS.join(","), [low, high] = column.extent;
    section.append(element("div", { className: "ramp", style: `background: linear-gradient(90deg, ${stops})` }),
      element("div", { className: "ends" }, ...[low, (low + high) / 2, high].map((v) => element("span", {}, figures(v)))));
    if (column.missing) section.append(element("p", {}, "grey: missing (" + number(column.missing) + ")"));
    return;
  }
  const found = state.found && new Set([...state.found].map((i) => column.codes[i]));
  const { names, shown, counts } = column, press = () => {
    items.forEach((item, k) => item.setAttribute("aria-pressed", shown[k]));
    redraw("all");
  };
  const items = names.map((name, k) => button("", () => { shown[k] = !shown[k]; press(); }, {
    title: "click: show or hide; double-click: only this one",
    hidden: !!found && !found.has(k),
    ondblclick: () => {
      const alone = shown.every((s, j) => s === (j === k));
      shown.fill(alone)[k] = true;
      press();
    },
  }));
  items.forEach((item, k) => item.append(swatch(column, k), element("span", {}, names[k]), element("b", {}, number(counts[k]))));
  section.append(...items);
  if (thumbnails.missing) section.append(element("p", {}, "grey: could not be read (" + number(thumbnails.missing) + ")"));
  press();
}

function find() {
  const query = $("search").value.trim().toLowerCase(), all = query ? [] : null;
  if (all) for (let i = 0; i < n; i++) if ((label(i) + "\n" + data.path[i]).toLowerCase().includes(query)) all.push(i);
  state.found = all && new Set(all);
  $("status").textContent = (all ? number(all.length) + " found" : number(n) + (n < data.of ? " of " + number(data.of) : "") + " photos");
  legend();
  redraw("all");
}

function setMode(mode) {
  state.mode = mode;
  for (const made of $("tools").querySelectorAll("[data-mode]")) made.setAttribute("aria-pressed", made.dataset.mode === mode);
  plot.style.cursor = mode === "move" ? "grab" : "crosshair";
}

const PHOTO_MODES = ["when close", "always", "never"];
function setPhotos(mode) {
  state.photos = $("photos").dataset.photos = mode;
  $("photos").title = `Photos: ${mode} (click to change)`;
  $("photos").setAttribute("aria-label", "Photos: " + mode);
  redraw("camera");
}

function showView(k) {
  state.all = k === panels.length;
  if (!state.all) state.view = k;
  [...$("tabs").children].forEach((tab, j) => tab.setAttribute("aria-pressed", j === k));
  const [{ view, pick }] = shownPanels(), axes = view.axes.length > 2 && !state.all ? ["x", "y", "depth"] : [];
  $("axes").replaceChildren(...axes.map((text, which) => {
    const select = element("select", { onchange: () => { pick[which] = +select.value; look(shownPanels()[0]); redraw("all"); } });
    if (which === 2) select.append(new Option("flat", -1));
    view.axes.forEach(({ name }, j) => select.append(new Option(name, j)));
    select.value = pick[which];
    return element("label", {}, text + " ", select);
  }));
  hover(-1);
  redraw("all");
}

async function start() {
  $("title").textContent = document.title;
  const help = "Arrows move, plus and minus zoom, 0 resets, n and p go from photo to photo, Enter pins.";
  plot.setAttribute("aria-label", document.title + ". " + help);
  const tabs = panels.length > 1 ? [...data.views.map(({ name }) => name), "Side by side"] : [];
  tabs.forEach((name, k) => $("tabs").append(button(name, () => showView(k))));
  columns.forEach(({ name }, k) => $("colour").append(new Option(name, k)));
  $("colour").onchange = (e) => { state.column = columns[e.target.value]; find(); };
  $("photos").onclick = () => setPhotos(PHOTO_MODES[(PHOTO_MODES.indexOf(state.photos) + 1) % 3]);
  $("search").oninput = find;
  $("search").onkeydown = (e) => {
    if (e.key === "Enter" && state.found) choose([...state.found].filter(visible), e.ctrlKey || e.metaKey);
  };
  for (const made of $("tools").querySelectorAll("[data-mode]")) made.onclick = () => setMode(made.dataset.mode);
  $("closer").onclick = () => closer(1.5);
  $("further").onclick = () => closer(1 / 1.5);
  $("reset").onclick = reset;
  setMode("move");
  setPhotos("when close");
  showView(0);
  find();
  await bring();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw("camera"));
  for (const [event, theme] of [["beforeprint", "light"], ["afterprint", document.documentElement.dataset.theme || ""]])
    addEventListener(event, () => { document.documentElement.dataset.theme = theme; redraw("camera"); draw(); });
  new ResizeObserver(resize).observe(stage);
}

// The library comes packed in the page; without it, or without WebGL, a canvas draws the marks.
async function bring() {
  const packed = take("library"), missing = "Drawn without WebGL, which this browser does not have.";
  const plain = (why, error) => {
    if (error) console.warn(error);
    drawer.end?.();
    drawer = canvasDrawer();
    $("marks").replaceChildren();
    $("note").textContent = why;
    $("note").hidden = !why;
    redraw("all");
  };
  if (!packed) return plain("Drawn without WebGL: bootstrap/explorer.sh brings what draws many photos fast.");
  const gl = document.createElement("canvas").getContext("webgl2"), about = gl?.getExtension("WEBGL_debug_renderer_info");
  if (!gl) return plain(missing);
  // WebGL that the processor imitates is ten times as slow as a canvas; `#webgl` after the page's address has it all the same.
  const renderer = gl.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  const imitated = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
  gl.getExtension("WEBGL_lose_context")?.loseContext(); // browsers keep few
  if (imitated && location.hash !== "#webgl") return plain(n > 20000 ? "Drawn without WebGL, which has no graphics card here." : "");
  try {
    const text = await new Response(new Blob([unpack(packed)]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(element("script", { textContent: text }));
    drawer = deckDrawer(deck, luma, (error) => plain(missing, error));
  } catch (error) {
    plain(missing, error);
  }
}
start();
