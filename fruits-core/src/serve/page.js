"use strict";
const at = (id) => document.getElementById(id);
const main = document.querySelector("main");
const limit = Number(main.dataset.limit);
let pending = null; // what stops the question that is on its way

const percent = (p) => (p > 0 && p < 0.005 ? "< 1" : Math.round(100 * p)) + "\u00a0%";
const either = (labels) => [labels.slice(0, -1).join(", "), labels.at(-1)].filter(Boolean).join(" or ");
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

function element(name, content, kind) {
  const made = document.createElement(name);
  made.append(...[content].flat());
  if (kind) made.className = kind;
  return made;
}

function say(state, headline, more) {
  main.dataset.state = state;
  at("headline").textContent = headline;
  at("more").textContent = more;
}

// Shows the photo itself. Not every browser can show every kind of photo that the server reads.
function show(photo) {
  const picture = at("photo");
  main.classList.add("chosen");
  URL.revokeObjectURL(picture.src);
  picture.hidden = false;
  at("unseen").hidden = true;
  picture.onerror = () => {
    picture.hidden = true;
    at("unseen").hidden = false;
    at("unseen").textContent = `This browser cannot show ${photo.name || "this file"}.`;
  };
  picture.src = URL.createObjectURL(photo);
}

function answer(reply) {
  const best = percent(reply.probability);
  const plausible = reply.probabilities.slice(0, reply.plausible.length).reduce((a, b) => a + b, 0);
  if (reply.is_unknown) say("unknown", "I do not know this", `most like: ${reply.answer}, ${best}`);
  else say("answer", either(reply.plausible), percent(plausible));
  at("answers").replaceChildren(...reply.answers.map((label, i) => {
    const bar = element("i", []);
    bar.style.width = `${100 * reply.probabilities[i]}%`;
    return element("li", [element("span", label), element("span", percent(reply.probabilities[i])), bar]);
  }));
  at("nearest").replaceChildren(...reply.nearest.map(({ path, label, similarity, picture }) => {
    const seen = picture ? new Image() : element("span", "no picture", "none");
    if (picture) Object.assign(seen, { src: picture, alt: "" });
    const photo = element("li", [seen, element("span", label)]);
    photo.title = `${path}\nsimilarity ${similarity.toFixed(2)}`;
    return photo;
  }));
  at("alike").hidden = !reply.nearest.length;
  at("reasons").hidden = false;
}

// Asks the server. If it is busy, asks once more when it says that it will be less so. Text that is thrown is for people.
async function ask(photo, signal, again) {
  const type = photo.type.startsWith("image/") ? photo.type : "application/octet-stream";
  let response, reply;
  try {
    response = await fetch("identify", { method: "POST", body: photo, headers: { "Content-Type": type }, signal });
    reply = await response.json();
  } catch (error) {
    if (signal.aborted) throw error;
    throw response ? `The answer cannot be read (status ${response.status}).` : "The server does not answer. Is it still running?";
  }
  if (response.status === 429 && again) {
    await pause(Math.min(Number(response.headers.get("Retry-After")) || 1, 30));
    return ask(photo, signal, false);
  }
  if (!response.ok) throw String(reply.error);
  return reply;
}

async function look(photo) {
  pending?.abort();
  const { signal } = (pending = new AbortController());
  at("reasons").hidden = true;
  show(photo);
  say("waiting", "Looking at it\u2026", "");
  try {
    if (!photo.size) throw "The file is empty.";
    if (photo.size > limit) throw `The photo is too large: it may have ${limit / 2 ** 20} MB at most.`;
    const reply = await ask(photo, signal, true);
    if (!signal.aborted) answer(reply);
  } catch (error) {
    if (!signal.aborted) say("error", "That did not work", typeof error === "string" ? error : "The answer cannot be read.");
  }
  if (!signal.aborted) at("say").scrollIntoView({ block: "nearest" });
}

// What is dropped or pasted: its first file, if there is one.
function take(event, data, kind) {
  const files = [...data.files];
  const photo = files.find((file) => file.type.startsWith("image/")) || files[0];
  if (!photo && kind === "paste") return; // text, for whatever has the focus
  event.preventDefault();
  if (photo) look(photo);
  else say("error", "That did not work", "What was dropped is no file. Save the photo first, then choose it here.");
}

for (const input of [at("file"), at("camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) look(input.files[0]);
    input.value = ""; // so that the same photo can be chosen again
  });
}
document.addEventListener("paste", (event) => take(event, event.clipboardData, "paste"));
document.addEventListener("drop", (event) => {
  main.classList.remove("over");
  take(event, event.dataTransfer, "drop");
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  main.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) main.classList.remove("over");
});
