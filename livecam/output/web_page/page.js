/* The page of one run. Pictures come as JPEGs over a WebSocket; the next is asked for when the last one is drawn, so none is ever old.
   What the camera sends out is decided by livecam alone: a press on Cover is shown at once, but called done only when livecam says so. */

const $ = (id) => document.getElementById(id);
const STATES = ["SLATE", "COVER", "HOLD", "LIVE", "REVEAL"];
const WORDS = {
  LIVE: "The persona is on air.",
  HOLD: "A short gap: the last masked picture stays for a moment.",
  COVER: "The whole picture is pixelated until a safe one comes.",
  SLATE: "A still card is on air until the camera gives a picture.",
  REVEAL: "Unmasked, as asked for at the terminal. This page does not show it.",
  NONE: "Connecting",
};
const COVERED = "Covered by you: the whole picture is pixelated.";
const COVERED_SLATE = "A still card is on air. Covered by you: the camera’s picture stays pixelated when it comes back.";
const COLOURS = ["#5f9ee0", "#4fb9a5", "#95c25c", "#dcb850", "#e2925a", "#d9707a", "#bb86d6", "#8390e6", "#8d9aab", "#53a7bf", "#b5936b", "#e6a3c4", "#7fd1a0", "#c9ced6"];
const WAY = ["capture", "decode", "search", "detect", "track", "align", "crop", "swap", "mask", "colour", "blend", "mark", "guard", "publish", "output"];
const HEADER_BYTES = 8;
const CONFIRM_MS = 2000;
const STALE_MS = 3000;
const BUDGET_MS = 1000 / 30;

const screen = $("screen"), canvas = $("picture"), draw = canvas.getContext("2d", {alpha: false});
let socket = null, ended = false, retryMs = 500, drawn = 0, lastSnapshot = 0;
let state = "NONE", reason = "", covered = false, hasPicture = false;
let wish = null; /* {covered, until}: pressed, not yet confirmed */
let personaWish = null, personaIds = "";

const text = (id, value) => { const node = $(id); if (node.textContent !== value) node.textContent = value; };
const number = (value, digits) => (typeof value === "number" && isFinite(value) ? value.toFixed(digits) : "–");
const open = () => socket !== null && socket.readyState === WebSocket.OPEN;
const say = (message) => { if (open()) socket.send(JSON.stringify(message)); return open(); };

const sentence = (words) => (words ? words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".") : "");

function complain(message) { text("alert", message); $("alert").hidden = !message; }

/* ---------- connection ---------- */
function connect() {
  socket = new WebSocket(new URL("socket", location.href).href.replace(/^http/, "ws"));
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { retryMs = 500; complain(""); say({do: "show", value: !document.hidden}); };
  socket.onmessage = (event) => (typeof event.data === "string" ? heard(JSON.parse(event.data)) : picture(event.data));
  socket.onclose = (event) => {
    ended = event.code === 1001 || ended;
    wish = personaWish = null; hasPicture = false; state = "NONE"; show();
    if (!ended) { setTimeout(connect, retryMs); retryMs = Math.min(retryMs * 2, 5000); }
  };
}

function heard(message) {
  if (message.type === "refused") return complain(`livecam refused: ${message.why}`);
  if (message.type === "snapshot") snapshot(message);
}

/* ---------- picture ---------- */
async function picture(data) {
  try {
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, HEADER_BYTES)], {type: "image/jpeg"}));
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) { canvas.width = bitmap.width; canvas.height = bitmap.height; }
    draw.drawImage(bitmap, 0, 0);
    bitmap.close();
    hasPicture = true; drawn += 1;
    const name = STATES[new DataView(data).getUint8(4)];
    canvas.dataset.sequence = new DataView(data).getUint32(0, true);
    if (name !== state || drawn === 1) { state = name; reason = ""; show(); }
  } finally {
    say({do: "next"});
  }
}

/* ---------- state ---------- */
function show() {
  const covering = wish !== null && wish.covered && !covered;
  const name = ended || !open() ? "NONE" : state;
  document.body.classList.toggle("ended", ended);
  for (const id of ["cover", "next", "previous", "quit"]) $(id).disabled = ended;
  document.body.dataset.state = covering ? "COVER" : name;
  text("badge", ended ? "ENDED" : covering ? "COVER" : name === "NONE" ? "…" : name);
  const words = covering ? "Covering…" : covered && name !== "NONE" ? (name === "SLATE" ? COVERED_SLATE : COVERED)
    : [WORDS[name], sentence(reason)].filter(Boolean).join(" ");
  text("state-words", ended ? "livecam has ended. This page can be closed." : open() ? words : "Not connected. Is livecam still running?");
  document.title = `${ended ? "ended" : name === "NONE" ? "…" : name} · livecam`;

  const pressed = wish === null ? covered : wish.covered;
  $("cover").setAttribute("aria-pressed", String(pressed));
  text("cover-text", covering ? "Covering…" : wish !== null && !wish.covered ? "Uncovering…" : covered ? "Covered · show again" : "Cover");
  text("cover-hint", covered && name === "COVER" ? "The others see large blocks of colour, nothing else." : "Pixelates the whole picture at once.");

  const veil = ended ? "livecam has ended" : !open() ? "Not connected" : covering ? "Covering…"
    : name === "REVEAL" ? "The unmasked picture is not shown here" : hasPicture ? "" : "Waiting for the first picture";
  screen.classList.toggle("covering", covering);
  $("veil").hidden = !veil; text("veil-text", veil);
}

function cover(on) {
  if (ended) return;
  if (!say({do: "cover", value: on ? "on" : "off"})) return complain("Not connected: this page could not cover the picture. Use the terminal (key c), or close the camera in the call.");
  complain("");
  wish = {covered: on, until: performance.now() + CONFIRM_MS};
  show();
}
const toggleCover = () => cover(!(wish === null ? covered : wish.covered));

function persona(value) {
  if (ended || !say({do: "persona", value})) return;
  personaWish = value; markPersona(null);
}

/* ---------- figures ---------- */
function snapshot(s) {
  lastSnapshot = performance.now();
  covered = Boolean(s.covered);
  if (wish !== null && (wish.covered === covered || performance.now() > wish.until)) {
    if (wish.covered !== covered) complain(`livecam has not confirmed ${wish.covered ? "the cover" : "the end of the cover"}. Look at the terminal.`);
    else complain("");
    wish = null;
  }
  if (typeof s.state === "number") s.state = STATES[s.state];
  if (typeof s.state === "string") state = s.state;
  reason = typeof s.reason === "string" ? s.reason : "";
  show();
  text("fps", number(s.fps, 1));
  for (const p of ["p50", "p95", "p99"]) text(`age-${p}`, number((s.frame_age_ms || {})[p], 1));
  const place = ([name]) => (WAY.includes(name) ? WAY.indexOf(name) : WAY.length);
  stages(Object.entries(s.stages_ms || {}).sort((a, b) => place(a) - place(b)));
  text("camera", String(s.camera ?? "–") || "–");
  text("faces", String(s.faces ?? "–"));
  const drops = s.drops;
  text("drops", drops && typeof drops === "object" ? Object.entries(drops).map(([where, n]) => `${where} ${n}`).join(", ") || "0" : String(drops ?? "–"));
  text("restarts", String(s.restarts ?? 0));
  list("notes", (s.notes || []).slice(-4).map(String)); $("notes").hidden = !(s.notes || []).length;
  const outputs = (s.outputs || []).map(String);
  list("outputs", outputs.length ? outputs.map((line) => line.replace(location.href, "this address")) : ["None yet."]);
  const virtual = outputs.some((line) => /pipewire|\/dev\/video|virtual|obs/i.test(line));
  $("no-camera").hidden = virtual || !outputs.length; $("how").hidden = !virtual;
  personas(s.personas || []);
  $("next").disabled = $("previous").disabled = ended || (s.personas || []).length < 2;
  if (!(s.personas || []).some((p) => p.id === s.persona)) text("about", s.persona ? `Wearing ${s.persona}` : "");
  markPersona(s.persona);
}

function list(id, lines) {
  const node = $(id), key = lines.join("\n");
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), {textContent: line})));
}

function stages(rows) {
  const body = $("stages"), bar = $("bar");
  if (!rows.length) return;
  if (body.dataset.names !== rows.map(([name]) => name).join()) {
    body.dataset.names = rows.map(([name]) => name).join();
    body.replaceChildren(...rows.map(([name], i) => {
      const row = document.createElement("tr"), head = document.createElement("th"), swatch = document.createElement("span");
      head.scope = "row"; swatch.className = "swatch"; swatch.style.background = COLOURS[i % COLOURS.length];
      head.append(swatch, name); row.append(head);
      for (let k = 0; k < 3; k++) row.append(document.createElement("td"));
      return row;
    }));
    bar.replaceChildren(...rows.map((_, i) => { const part = document.createElement("span"); part.style.background = COLOURS[i % COLOURS.length]; return part; }));
  }
  const total = rows.reduce((sum, [, t]) => sum + (t.p50 || 0), 0), scale = Math.max(total, BUDGET_MS);
  rows.forEach(([name, t], i) => {
    ["p50", "p95", "p99"].forEach((p, k) => { body.rows[i].cells[k + 1].textContent = number(t[p], 2); });
    bar.children[i].style.width = `${(100 * (t.p50 || 0)) / scale}%`;
    bar.children[i].title = `${name} ${number(t.p50, 2)} ms`;
  });
  text("stages-sum", total > BUDGET_MS ? `${total.toFixed(1)} ms` : `${total.toFixed(1)} of ${BUDGET_MS.toFixed(1)} ms at 30 fps`);
  bar.setAttribute("aria-label", `Median times: ${rows.map(([name, t]) => `${name} ${number(t.p50, 1)}`).join(", ")} milliseconds`);
}

/* ---------- personas ---------- */
function personas(all) {
  const key = all.map((p) => p.id).join("\n");
  if (key === personaIds) return;
  personaIds = key;
  $("picker").replaceChildren($("picker").firstElementChild, ...all.map((p) => {
    const label = document.createElement("label"), input = document.createElement("input"), face = document.createElement("span");
    label.className = "persona"; label.title = p.description || ""; label.dataset.id = p.id;
    Object.assign(input, {type: "radio", name: "persona", value: p.id});
    input.addEventListener("change", () => persona(p.id));
    const name = Object.assign(document.createElement("span"), {className: "name", textContent: p.name || p.id});
    const portrait = Object.assign(document.createElement("img"), {src: `portrait/${encodeURIComponent(p.id)}`, alt: "", width: 200, height: 200});
    portrait.addEventListener("error", () => portrait.replaceWith(Object.assign(document.createElement("span"), {className: "initial", textContent: (p.name || p.id).slice(0, 1)})));
    face.className = "face"; face.append(portrait, name); label.append(input, face);
    label.about = p.description || "";
    return label;
  }));
}

function markPersona(current) {
  if (current !== null && (current === personaWish || personaWish === "next" || personaWish === "previous")) personaWish = null;
  for (const label of document.querySelectorAll(".persona")) {
    const id = label.dataset.id, wished = personaWish === id;
    label.classList.toggle("pending", wished && current !== id);
    if (current === null) continue;
    const input = label.firstElementChild, on = personaWish === null ? current === id : wished;
    if (input.checked !== on) { input.checked = on; if (on && innerWidth <= 640) label.scrollIntoView({block: "nearest", inline: "center"}); }
    if (id === current) text("about", label.about);
  }
}

/* ---------- keys and buttons ---------- */
function press(id, action) {
  $(id).addEventListener("click", (event) => {
    action();
    if (event.detail > 0) event.currentTarget.blur(); /* after a mouse click, Space is to cover again */
  });
}
press("cover", toggleCover);
press("next", () => persona("next"));
press("previous", () => persona("previous"));
press("quit", () => $("quit-dialog").showModal());
press("quit-no", () => $("quit-dialog").close());
press("quit-yes", () => { $("quit-dialog").close(); if (!say({do: "quit", value: ""})) complain("Not connected: livecam could not be told to quit."); });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || $("quit-dialog").open) return;
  const key = event.key.toLowerCase(), onControl = event.target.closest("button, summary, a");
  if (key === "c" || (key === " " && !onControl)) { event.preventDefault(); toggleCover(); }
  else if (key === "n") persona("next");
  else if (key === "p") persona("previous");
  else if (key === "q" && !ended) $("quit-dialog").showModal();
});

document.addEventListener("visibilitychange", () => say({do: "show", value: !document.hidden}));
let counted = 0;
setInterval(() => {
  text("shown", drawn - counted > 0 && open() ? `${drawn - counted} fps on this page` : "");
  counted = drawn;
  if (open() && lastSnapshot && performance.now() - lastSnapshot > STALE_MS && !document.hidden) complain("livecam is connected but has told nothing for three seconds.");
  else if ($("alert").textContent.startsWith("livecam is connected")) complain("");
}, 1000);
show();
connect();
