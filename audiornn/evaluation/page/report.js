"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const media = JSON.parse(document.getElementById("media").textContent);
const CLIPS_AT_ONCE = 200;

// Text only ever goes in through textContent: names of files and labels come from strangers.
function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// A clip that is in the page can be heard and seen below its name.
function withMedia(cell) {
  const id = cell.textContent;
  if (!Object.hasOwn(media, id)) return cell;
  const picture = element("img", undefined, "clip");
  picture.src = media[id][1];
  picture.alt = "waveform, spectrogram, what was listened to";
  const player = element("audio");
  player.controls = true;
  player.preload = "none";
  player.src = media[id][0];
  cell.append(picture, player);
  return cell;
}

function clipRow([id, , , probability, targetProbability, seconds]) {
  const row = element("tr");
  row.append(
    withMedia(element("td", id, "name")),
    element("td", probability.toFixed(3), "number"),
    element("td", targetProbability.toFixed(3), "number"),
    element("td", seconds === null ? "" : seconds.toFixed(2) + " s", "number"),
  );
  return row;
}

function fill(body, more, clips) {
  for (const clip of clips.splice(0, CLIPS_AT_ONCE)) body.append(clipRow(clip));
  more.hidden = clips.length === 0;
  more.textContent = `Show more (${clips.length} left)`;
}

function showClips(target, prediction, count) {
  const clips = data.clips.filter((clip) => clip[1] === target && clip[2] === prediction);
  clips.sort((first, second) => second[3] - first[3]);
  const panel = document.getElementById("clips");
  panel.hidden = false;
  const answer = target === prediction ? "answered right" : `taken for “${data.labels[prediction]}”`;
  panel.querySelector("h3").textContent =
    `“${data.labels[target]}” ${answer}: ${count} ${count === 1 ? "clip" : "clips"}`;
  panel.querySelector(".left-out").textContent =
    clips.length < count ? `${count - clips.length} of them are not in this page; see predictions.csv.` : "";
  const body = panel.querySelector("tbody");
  const more = panel.querySelector(".more");
  body.replaceChildren();
  fill(body, more, clips);
  more.onclick = () => fill(body, more, clips);
  panel.scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-target]");
  if (!button) return;
  for (const other of document.querySelectorAll("button[aria-pressed]")) other.removeAttribute("aria-pressed");
  button.setAttribute("aria-pressed", "true");
  showClips(Number(button.dataset.target), Number(button.dataset.prediction), Number(button.dataset.count));
});

for (const cell of document.querySelectorAll("td[data-clip]")) withMedia(cell);
