"use strict";
// The console's page. It asks for the next frame when it has shown the last one, so a slow page costs nobody anything.

const $ = id => document.getElementById(id);
const key = document.querySelector('meta[name="console-key"]').content;
const ticket = document.querySelector('meta[name="scene-ticket"]').content;
const PATIENCE = 5000; // [ms] for a frame
const OLD_PICTURE = 1.5, OLD_IMAGINED = 4; // [s]
const imagined = name => name.endsWith("_imagined");
let newest = null; // the last frame
let restart = 0; // counts connections, so that the 3-D view is loaded anew after a restart of the console

// ---------------------------------------------------------------------------------------------- frames

async function follow() {
  let after = 0;
  for (;;) {
    try {
      const answer = await fetch(`/frame?after=${after}`, { signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) throw new Error(await answer.text());
      const data = await answer.arrayBuffer();
      if (data.byteLength) {
        const length = new DataView(data).getUint32(0, true);
        const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
        const fresh = frame.frame !== after;
        after = frame.frame;
        if (fresh) try { show(frame, data, 4 + length); } catch (error) { console.error(error); }
      }
      $("lost").hidden = true;
      document.body.dataset.connected = "yes";
    } catch (error) {
      $("lost").hidden = false;
      document.body.dataset.connected = "no";
      after = 0;
      restart += 1;
      put($("state"), "unknown"); dress($("state"), "chip state state-unknown");
      await new Promise(resolve => setTimeout(resolve, 500));
    }
    if (document.hidden) await new Promise(resolve => setTimeout(resolve, 1000));
  }
}

function show(frame, data, offset) {
  newest = frame;
  showState(frame);
  showPictures(frame.pictures, data, offset);
  showControls(frame);
  showTask(frame);
  showHealth(frame);
  showEvents(frame.events);
  showScene(frame.scene);
  const curves = frame.curves, span = 30;
  plot($("plot-surprise"), "surprise", [
    { name: "head", colour: "#40c4ff", points: curves.surprise_head },
    { name: "wrist", colour: "#ffb03c", points: curves.surprise_wrist },
  ], { span, least: 3, none: frame.unsettled || "nothing has been imagined and seen" });
  plot($("plot-error"), "error", [
    { name: "joints mrad", colour: "#2fbf71", points: curves.joint_tracking_error },
    { name: "path mm", colour: "#c792ea", points: curves.position_error },
  ], { span, least: 1, none: "no controller" });
  plot($("plot-distance"), "nearest pair", [
    { name: "mm", colour: "#fadc5a", points: curves.minimum_distance },
  ], { span, gap: 1, none: "no pair is near" });
}

// ---------------------------------------------------------------------------------------------- parts

/** Set text, only when it differs. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
/** Set classes, only when they differ. */
function dress(element, names) {
  if (element.className !== names) element.className = names;
}
/** Replace the children, only when what they show differs. */
function fill(element, items, make) {
  const now = JSON.stringify(items);
  if (element.dataset.shown === now) return;
  element.dataset.shown = now;
  element.replaceChildren(...items.map(make));
}
function make(tag, text, names = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (names) element.className = names;
  return element;
}
const clock = time => new Date(1000 * time).toLocaleTimeString([], { hour12: false });
const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const ms = value => (value === null || value === undefined ? "–" : `${value.toFixed(value < 10 ? 2 : 1)} ms`);

function showState(frame) {
  const wbc = frame.wbc;
  put($("mode"), frame.mode.text.toUpperCase()); dress($("mode"), `chip mode-${frame.mode.name}`);
  put($("state"), wbc.fresh ? wbc.state : "NO STATUS");
  dress($("state"), `chip state state-${wbc.fresh ? wbc.state : "unknown"}`);
  put($("reason"), wbc.reason); $("reason").title = wbc.reason;
  put($("time"), frame.time === null ? "" : frame.time > 1e8 ? new Date(1000 * frame.time).toLocaleString() : `${frame.time.toFixed(1)} s`);
  const chunk = frame.chunk, remaining = wbc.fresh ? wbc.remaining ?? 0 : 0;
  put($("chunk-text"), chunk ? `chunk ${chunk.sequence} · ${remaining.toFixed(1)} of ${chunk.length.toFixed(1)} s left` : "no chunk");
  $("chunk-bar").style.width = chunk ? `${Math.max(0, Math.min(100, 100 * remaining / chunk.length))}%` : "0";
}

function showPictures(pictures, data, offset) {
  const stamps = Object.fromEntries(pictures.map(picture => [picture.name, picture.stamp]));
  for (const picture of pictures) {
    const figure = document.querySelector(`figure[data-picture="${picture.name}"]`);
    const note = figure.querySelector("span"), image = figure.querySelector("img");
    if (!picture.size) {
      put(note, picture.problem || (picture.stamp === null ? "none yet" : "unreadable"));
      continue;
    }
    const bytes = new Uint8Array(data, offset, picture.size);
    offset += picture.size;
    const old = picture.age > (imagined(picture.name) ? OLD_IMAGINED : OLD_PICTURE);
    dress(figure, old ? "seen old" : "seen");
    const ahead = picture.stamp - stamps[picture.name.replace("_imagined", "")];
    put(note, old ? `${picture.age.toFixed(1)} s old` : imagined(picture.name) ? `for ${ahead >= 0 ? "+" : "−"}${Math.abs(ahead).toFixed(1)} s` : "now");
    if (image.dataset.stamp === String(picture.stamp)) continue;
    image.dataset.stamp = picture.stamp;
    const before = image.src;
    image.src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    if (before) URL.revokeObjectURL(before);
  }
}

function showControls(frame) {
  for (const element of document.querySelectorAll("[data-control]")) {
    const [enabled, why] = frame.controls[element.dataset.control];
    if (element.disabled === enabled) element.disabled = !enabled;
    if (element.dataset.why !== why) { element.dataset.why = why; element.title = why; }
  }
  const recording = frame.recording;
  put($("record"), recording.running ? (recording.begun ? `■ Recording ${recording.duration.toFixed(0)} s` : "■ starting …") : "● Record");
  dress($("record"), recording.running ? "on" : "");
  $("recording-dot").hidden = !recording.begun;
  fill($("scene-name"), frame.scenes, name => new Option(name, name));
  if ($("scene-name").dataset.now !== frame.scene) { $("scene-name").dataset.now = $("scene-name").value = frame.scene; }
  fill($("policy"), frame.policies, name => new Option(name, name));
  const model = frame.policy.model || frame.policy.policy || "", current = frame.policy_name;
  if (current && document.activeElement !== $("policy") && $("policy").value !== current) $("policy").value = current;
  $("policy").title = frame.controls.policy[1] || model;
  fill($("tasks"), frame.tasks, text => new Option(text));
  const words = $("instruction").value.toLowerCase().split(/\s+/).filter(word => word);
  const matching = frame.tasks.filter(text => words.every(word => text.includes(word)));
  const offered = matching.length ? matching : frame.tasks;
  fill($("task-list"), offered.map(text => [text, frame.controls.instruct[0]]), ([text, enabled]) => {
    const item = make("li", ""), button = make("button", text);
    button.disabled = !enabled;
    button.onclick = () => command("instruct", { text });
    item.append(button);
    return item;
  });
}

function showTask(frame) {
  const said = frame.instruction, outcome = frame.outcome;
  const doing = $("doing");
  const words = [];
  if (!said) words.push(["quiet", "No instruction."]);
  else {
    words.push(["", `“${said}” `]);
    if (outcome && outcome.success) words.push(["done", `done after ${fixed(outcome.elapsed, 1)} s`]);
    else if (outcome) words.push(["quiet", `${fixed(outcome.elapsed, 0)} s · ${outcome.detail}`]);
  }
  fill(doing, words, ([names, text]) => make("span", text, names));
  fill($("history"), frame.history, said => {
    const item = make("li", said.text + " ");
    item.append(make("small", said.result || "under way"));
    return item;
  });
}

function row(cells) {
  const line = make("tr", "");
  for (const [text, names] of cells) line.append(make("td", text, names || ""));
  return line;
}

function showHealth(frame) {
  const w = frame.wbc, facts = [];
  if (w.fresh) {
    facts.push([["commands"], [w.armed ? "sent (armed)" : "computed, not sent (dry run)", w.armed ? "n" : "n warn"]]);
    facts.push([["control cycle p50 / p99"], [`${ms(w.cycle_p50)} / ${ms(w.cycle_p99)}`, "n"]]);
    facts.push([["cycles missed"], [`${w.missed} of ${w.cycles}`, w.missed / Math.max(1, w.cycles) > .01 ? "n warn" : "n"]]);
    facts.push([["tracking error"], [`${fixed(w.tracking_error, 1)} mrad · path ${fixed(w.position_error, 1)} mm, ${fixed(w.orientation_error, 1)}°`, "n"]]);
    facts.push([["speed along the path"], [`${fixed(100 * w.path_speed, 0)} %`, w.path_speed < .5 ? "n warn" : "n"]]);
    facts.push([["chunks accepted / refused"], [`${w.accepted} / ${w.refused}`, w.refused ? "n warn" : "n"]]);
  }
  for (const [pair, distance, margin] of frame.near.slice(0, 3))
    facts.push([[pair.replaceAll("_capsule", "").replaceAll("_", " ").replace("|", " – ")], [`${distance.toFixed(0)} mm, ${margin.toFixed(0)} left`, margin < 10 ? "n bad" : "n warn"]]);
  const p = frame.policy;
  facts.push([["policy"], [[p.model || p.policy || "none", p.state && p.state !== "active" ? `(${p.state})` : ""].join(" ").trim(), "n"]]);
  if (p.inference_p50_s && Number(p.inference_p99_s) > 0)
    facts.push([["inference p50 / p99"], [`${ms(1e3 * p.inference_p50_s)} / ${ms(1e3 * p.inference_p99_s)}`, "n"]]);
  fill($("facts"), facts, row);
  fill($("latencies"), Object.entries(frame.latencies).map(([name, found]) =>
    found ? [[name], [`p50 ${ms(found[0])}`, "n"], [`p99 ${ms(found[1])}`, "n"], [`${found[2]}×`, "n quiet"]] : [[name], ["no measurement yet", "n quiet"]]), row);
  fill($("rates"), frame.rates.map(([name, hertz, age]) =>
    [[name], [hertz ? `${hertz.toFixed(1)} Hz` : "–", "n"], [age === null ? "" : age < 1 ? `${(1000 * age).toFixed(0)} ms ago` : `${age.toFixed(1)} s ago`, age > 2 ? "n quiet" : "n"]]), row);
}

function showEvents(events) {
  fill($("events"), events, event => {
    const item = make("li", "", event.level);
    item.append(make("time", clock(event.time)), make("b", event.source + " "), event.text);
    return item;
  });
}

function showScene(ready) {
  const place = $("scene"), wanted = ready ? String(restart) : "";
  if (place.dataset.loaded === wanted || !ready) return;
  place.dataset.loaded = wanted;
  const frame = document.createElement("iframe");
  // Sandboxed, so that browsers draw it in a process of its own: a slow graphics card must not hold up the page.
  frame.sandbox = "allow-scripts";
  frame.title = "3-D view";
  frame.src = `/scene/${ticket}?darkMode` + (softwareGraphics() ? "&fixedDpr=0.6" : "");
  place.replaceChildren(frame);
}

/** Whether this browser draws 3-D without a graphics card: then less finely. */
function softwareGraphics() {
  const context = document.createElement("canvas").getContext("webgl");
  const info = context && context.getExtension("WEBGL_debug_renderer_info");
  const name = info ? context.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
  if (context) context.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software/i.test(name);
}

// ---------------------------------------------------------------------------------------------- commands

async function command(name, form = {}) {
  const answer = $("answer");
  try {
    const reply = await fetch(`/${name}`, { method: "POST", body: new URLSearchParams({ ...form, key }), signal: AbortSignal.timeout(180000) });
    put(answer, await reply.text());
    dress(answer, reply.ok ? "good" : "bad");
    return reply.ok;
  } catch (error) {
    put(answer, `${name}: no answer from the console (${error.message})`);
    dress(answer, "bad");
    return false;
  }
}

$("stop").addEventListener("submit", event => { event.preventDefault(); command("stop"); });
$("instruct").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("instruction").value.trim();
  if (text) command("instruct", { text }).then(done => { if (done) $("instruction").value = ""; });
});
$("withdraw").addEventListener("click", () => command("instruct", { text: "" }));
$("home").addEventListener("click", () => command("home"));
$("record").addEventListener("click", () => command("record", { on: newest && newest.recording.running ? "0" : "1" }));
$("policy").addEventListener("change", event => { put($("answer"), "switching the policy …"); command("policy", { name: event.target.value }); event.target.blur(); });
$("scene-form").addEventListener("submit", event => { event.preventDefault(); command("scene", { scene: $("scene-name").value, seed: $("seed").value }); });
$("reset").addEventListener("click", () => {
  put($("why"), newest.wbc.reason);
  $("confirm").returnValue = "";
  $("confirm").show(); // not modal: stop must stay within reach
});
$("confirm").addEventListener("close", () => {
  if ($("confirm").returnValue === "yes") command("reset", { reason: $("why").textContent });
});
follow();
