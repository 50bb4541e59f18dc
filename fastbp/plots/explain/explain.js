"use strict";

// The values. Layer l = 1 is the input; layers[l - 1] has a and ∂C/∂a (g), and from l = 2 on z, σ′ (s), δ (d), w and b.
const data = JSON.parse(document.getElementById("data").textContent);
const L = data.sizes.length;

function decode(text, Type) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer); // little-endian, as every browser of today
}

const layers = data.layers.map((given, i) => {
  const layer = { l: i + 1, n: given.n, activation: given.activation, nudged: given.nudged };
  for (const name of ["a", "g", "z", "s", "d", "b"]) layer[name] = given[name] ? decode(given[name], Float64Array) : null;
  layer.w = given.w ? decode(given.w, data.dtype === "float32" ? Float32Array : Float64Array) : null;
  layer.changes = given.changes ? decode(given.changes, Float32Array) : null;
  return layer;
});
const y = decode(data.y, Float64Array);
const at = l => layers[l - 1];
const weight = (l, j, k) => at(l).w[j * at(l - 1).n + k];

// Numbers and formulas.
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹", SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
const raised = n => String(n).replace(/\d/g, d => SUPERSCRIPTS[d]).replace("-", "⁻");
const lowered = n => String(n).replace(/\d/g, d => SUBSCRIPTS[d]);

function parts(x) { // mantissa and exponent with five digits
  if (x === null || Number.isNaN(x)) return ["–", null];
  if (!Number.isFinite(x)) return [x > 0 ? "∞" : "−∞", null];
  const size = Math.abs(x);
  const [mantissa, exponent] = size === 0 || (size >= 1e-3 && size < 1e5)
    ? [String(Number(x.toPrecision(5))), null] : x.toExponential(4).split("e");
  return [String(Number(mantissa)).replace("-", "−"), exponent === null ? null : Number(exponent)];
}
const text = x => { const [m, e] = parts(x); return e === null ? m : `${m}·10${raised(e)}`; };
const escape = s => s.replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);

const mi = s => `<mi>${s}</mi>`, mo = s => `<mo${s === "(" || s === ")" ? ` stretchy="false"` : ""}>${s}</mo>`, row = (...s) => `<mrow>${s.join("")}</mrow>`;
function mn(x, bracket = false) {
  const [m, e] = parts(x);
  const digits = m.startsWith("−") ? `<mo form="prefix">−</mo><mn>${m.slice(1)}</mn>` : `<mn>${m}</mn>`;
  const number = e === null ? digits : `${digits}${mo("·")}<msup><mn>10</mn>${e < 0 ? row(`<mo form="prefix">−</mo>`, `<mn>${-e}</mn>`) : `<mn>${e}</mn>`}</msup>`;
  return bracket && x < 0 ? row(mo("("), number, mo(")")) : row(number);
}
const index = (...i) => row(...i.map((n, p) => (p ? mo(",") : "") + (typeof n === "number" ? `<mn>${n + 1}</mn>` : mi(n))));
const at_ = (name, j, l) => `<msubsup>${mi(name)}${index(...[j].flat())}<mn>${l}</mn></msubsup>`;
const partial = (of, by) => `<mfrac>${row(mi("∂"), of)}${row(mi("∂"), by)}</mfrac>`;
const cost = `<msub>${mi("C")}${mi("x")}</msub>`;
const math = s => `<math>${s}</math>`;
const slopeOf = (j, l) => row(`<msup>${mi("σ")}${mo("′")}</msup>`, mo("("), at_("z", j, l), mo(")"));

const EQUATION = "equation";
function equation(number, ...pieces) {
  const line = document.createElement("p");
  line.className = EQUATION;
  if (number) line.innerHTML = `<span class="number">${number}</span>`;
  for (const piece of pieces) {
    if (typeof piece === "string") line.insertAdjacentHTML("beforeend", piece);
    else line.append(piece);
  }
  return line;
}

// Sums are shown with their largest terms. The other terms are counted and added up.
const MOST_TERMS = 5;
function sumOf(n, term) {
  const terms = [];
  let total = 0;
  for (let i = 0; i < n; i++) { const value = term(i); total += value; terms.push([Math.abs(value), i, value]); }
  terms.sort((p, q) => q[0] - p[0] || p[1] - q[1]);
  const shown = terms.slice(0, n <= MOST_TERMS + 1 ? n : MOST_TERMS);
  const rest = total - shown.reduce((sum, [, , value]) => sum + value, 0);
  return { shown: shown.map(([, i, value]) => [i, value]), others: n - shown.length, rest };
}
function sumPieces(sum, factors, choose) {
  const pieces = sum.shown.map(([i], p) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "term";
    button.innerHTML = math(row(p ? mo("+") : mo("="), ...factors(i).flatMap((x, q) => [q ? mo("·") : "", mn(x, true)])));
    button.title = button.ariaLabel = choose.name(i);
    button.addEventListener("click", () => choose.go(i));
    return button;
  });
  if (sum.others) pieces.push(math(row(mo("+"), mn(sum.rest, true))) + `<small>(${sum.others.toLocaleString("en")} smaller terms)</small>`);
  return pieces;
}

// Names.
const nameOf = (l, j) => (l === 1 ? data.inputs[j] : l === L ? data.outputs[j] : "") || "";
function neuronName(l, j) {
  const name = nameOf(l, j) ? ` (${nameOf(l, j)})` : "";
  return `${l === 1 ? "Input" : l === L ? "Output neuron" : "Neuron"} ${j + 1}${name}${l > 1 && l < L ? ` of layer ${l}` : ""}`;
}
const layerLetter = l => (l === L ? "ᴸ" : `ᴸ${raised(l - L)}`);
function weightName(l, j, k) {
  const indices = j < 9 && k < 9 ? lowered(j + 1) + lowered(k + 1) : `${lowered(j + 1)},${lowered(k + 1)}`;
  return `w${indices}⁽${layerLetter(l)}⁾`;
}
const letter = l => (l === L ? row(mo("("), mi("L"), mo(")")) : row(mo("("), mi("L"), mo("−"), `<mn>${L - l}</mn>`, mo(")")));
const named = (name, indices, l) => `<msubsup>${mi(name)}${index(...indices)}${letter(l)}</msubsup>`;

// The five steps; feedforward and backpropagation go layer by layer.
const PHASES = ["Input", "Feedforward", "Output error", "Backpropagate", "Gradient"];
const steps = [{ phase: 1, layer: 1, text: "The input is the activation of layer 1: a¹ = x." }];
for (let l = 2; l <= L; l++) steps.push({ phase: 2, layer: l, text: `Feedforward, equations (1) and (2): z${raised(l)} = W${raised(l)} a${raised(l - 1)}${at(l).b ? ` + b${raised(l)}` : ""}, then a${raised(l)} = σ(z${raised(l)}).` });
steps.push({ phase: 3, layer: L, text: `Output error, (BP1): δ${raised(L)} = ∇C ⊙ σ′(z${raised(L)}).` });
for (let l = L - 1; l >= 2; l--) steps.push({ phase: 4, layer: l, text: `Backpropagate, (BP2): δ${raised(l)} = (W${raised(l + 1)})ᵀ δ${raised(l + 1)} ⊙ σ′(z${raised(l)}).` });
steps.push({ phase: 5, layer: null, text: "Gradient, (BP3) and (BP4): ∂C/∂b = δ, and ∂C/∂w is the activation before the weight times the δ after it." });
const stepOf = { forward: l => l - 1, error: l => L + (L - l), last: steps.length - 1 };
function computed(quantity, l) { // the step that computes a quantity of a layer
  if (quantity === "a" && l === 1) return 0;
  if ("zas".includes(quantity)) return stepOf.forward(l);
  return l === 1 ? stepOf.last : stepOf.error(l);
}

// State.
let step = steps.length - 1;
const chosen = { l: L, j: 0, k: 0 };
let nudge = 5; // tenths of Δz
let eta = 3;

// Pictures of numbers.
let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["zero", "negative", "positive", "text", "accent", "card"]) {
    const hex = style.getPropertyValue(`--${name}`).trim();
    colours[name] = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
  }
}
const rgb = c => `rgb(${c.map(Math.round).join(" ")})`;
function colourOf(x, largest) {
  if (!Number.isFinite(x)) return colours.text;
  const t = largest ? Math.abs(x / largest) ** 0.7 : 0;
  const end = x < 0 ? colours.negative : colours.positive;
  return colours.zero.map((c, i) => c + t * (end[i] - c));
}
function largestOf(values) {
  let largest = 0;
  for (const x of values) if (Number.isFinite(x) && Math.abs(x) > largest) largest = Math.abs(x);
  return largest;
}
function gridOf(n, shape, width) { // columns, and width and height of a cell in pixels
  if (shape) {
    const size = Math.max(1, Math.floor(Math.min(width < 420 ? width / 2 - 10 : width, 252) / shape[1]));
    return { columns: shape[1], w: size, h: size };
  }
  const least = n <= 16 ? 16 : n <= 128 ? 13 : n <= 512 ? 9 : n <= 4096 ? 6 : 3;
  const rows = Math.ceil(n / Math.max(1, Math.floor(width / least)));
  const columns = Math.ceil(n / rows);
  const w = Math.max(1, Math.min(56, Math.floor(width / columns)));
  return { columns, w, h: Math.max(rows > 1 ? Math.min(w, 16) : 22, 1) };
}
function paint(canvas, values, grid, selected) {
  const n = values.length, rows = Math.ceil(n / grid.columns), ratio = window.devicePixelRatio || 1;
  const width = grid.columns * grid.w, height = rows * grid.h;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.grid = grid;
  const pen = canvas.getContext("2d"), largest = largestOf(values), space = grid.w > 7 && grid.h > 7 ? 1 : 0;
  pen.scale(ratio, ratio);
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let i = 0; i < n; i++) {
    const left = (i % grid.columns) * grid.w, top = Math.floor(i / grid.columns) * grid.h, colour = colourOf(values[i], largest);
    pen.fillStyle = rgb(colour);
    pen.fillRect(left, top, grid.w - space, grid.h - space);
    if (grid.w >= 46 && grid.h >= 18) {
      const bright = (0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]) > 140;
      pen.fillStyle = bright ? "#000" : "#fff";
      pen.fillText(short(values[i]), left + grid.w / 2, top + grid.h / 2);
    }
  }
  if (selected >= 0) {
    const left = (selected % grid.columns) * grid.w, top = Math.floor(selected / grid.columns) * grid.h;
    pen.lineWidth = 2;
    pen.strokeStyle = rgb(colours.card);
    pen.strokeRect(left - 1, top - 1, grid.w + 2, grid.h + 2);
    pen.strokeStyle = rgb(colours.text);
    pen.strokeRect(left + 1, top + 1, grid.w - space - 2, grid.h - space - 2);
  }
  return largest;
}
function short(x) {
  const size = Math.abs(x);
  if (!Number.isFinite(x) || size === 0) return parts(x)[0];
  if (size < 1e-3 || size >= 1e4) return `${x < 0 ? "−" : ""}10${raised(Math.round(Math.log10(size)))}`;
  return String(Number(x.toPrecision(2))).replace("-", "−");
}
function cellAt(canvas, event, n) {
  const box = canvas.getBoundingClientRect(), { columns, w, h } = canvas.grid;
  const column = Math.floor((event.clientX - box.left) / w), line = Math.floor((event.clientY - box.top) / h);
  const i = line * columns + column;
  return column >= 0 && column < columns && i >= 0 && i < n ? i : -1;
}
const DWELL = 90; // ms that the mouse rests on a cell before it is selected, so that it can cross others on its way
function pickable(box, n, current, select) {
  let timer = 0;
  const canvases = () => [...box.querySelectorAll("canvas")];
  for (const canvas of canvases()) {
    const over = (event, wait) => {
      clearTimeout(timer);
      const i = cellAt(canvas, event, n);
      if (i >= 0 && i !== current()) timer = setTimeout(() => select(i), wait);
    };
    canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse") over(event, DWELL); });
    canvas.addEventListener("pointerleave", () => clearTimeout(timer));
    canvas.addEventListener("click", event => over(event, 0));
  }
  box.addEventListener("keydown", event => {
    const columns = canvases()[0].grid.columns, i = Math.max(current(), 0);
    const next = { ArrowLeft: i - 1, ArrowRight: i + 1, ArrowUp: i - columns, ArrowDown: i + columns, Home: 0, End: n - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    select(Math.min(n - 1, Math.max(0, next)));
  });
}

// The layers.
const QUANTITIES = { z: "z", a: "a", s: "σ′(z)", g: "∂C/∂a", d: "δ" };
const host = document.getElementById("layers");
const gaps = {};
for (const layer of layers) {
  const { l, n } = layer;
  if (l > 1) {
    const gap = document.createElement("div");
    gap.className = "gap";
    gap.innerHTML = `<svg aria-hidden="true"></svg><span class="label"></span>`;
    host.append(gap);
    gaps[l] = gap;
  }
  const card = document.createElement("section");
  card.className = "card layer";
  const kind = l === 1 ? "input" : escape(layer.activation) + (l === L ? `, ${escape(data.cost)} cost` : "");
  card.innerHTML = `<h2><span>Layer ${l}</span><small>${n.toLocaleString("en")} ${l === 1 ? (n === 1 ? "input" : "inputs") : (n === 1 ? "neuron" : "neurons")}${l === 1 ? "" : ", " + kind}</small>
    <label>${l === 1 ? "input" : "neuron"} <input type="number" min="1" max="${n}" placeholder="1–${n}"></label></h2><div class="cells${l === 1 && data.shape ? " picture" : ""}" tabindex="0" role="slider" aria-valuemin="1" aria-valuemax="${n}" aria-label="${l === 1 ? "Input" : `Neuron of layer ${l}`}"></div>`;
  layer.box = card.querySelector(".cells");
  layer.field = card.querySelector("input");
  layer.card = card;
  layer.rows = {};
  for (const name of Object.keys(QUANTITIES)) {
    if (!layer[name]) continue;
    const line = document.createElement("div");
    line.className = "quantity";
    line.innerHTML = `<span><span class="name">${l === 1 ? { a: "x = a¹", g: "∂C/∂x" }[name] : QUANTITIES[name]}</span> <span class="scale"></span></span><canvas aria-hidden="true"></canvas>`;
    layer.box.append(line);
    layer.rows[name] = line;
  }
  host.append(card);
  pickable(layer.box, n, () => (chosen.l === l ? chosen.j : -1), j => choose(l, j));
  layer.field.addEventListener("change", () => choose(l, Math.min(n, Math.max(1, Math.round(Number(layer.field.value) || 1))) - 1));
}

function drawLayers() {
  for (const layer of layers) {
    const width = layer.box.clientWidth, picture = layer.l === 1 && data.shape;
    const label = picture ? 0 : layer.box.querySelector(".quantity span").offsetWidth + 8;
    layer.grid = gridOf(layer.n, picture ? data.shape : null, picture ? width : width - label);
    for (const [name, line] of Object.entries(layer.rows)) {
      const known = step >= computed(name, layer.l);
      line.classList.toggle("later", !known);
      const largest = paint(line.querySelector("canvas"), layer[name], layer.grid, chosen.l === layer.l ? chosen.j : -1);
      line.querySelector(".scale").textContent = known ? `±${shortScale(largest)}` : "later";
    }
    const j = chosen.l === layer.l ? chosen.j : 0;
    layer.box.setAttribute("aria-valuenow", j + 1);
    layer.box.setAttribute("aria-valuetext", `${neuronName(layer.l, j)}: ${valuesOf(layer.l, j).map(([name, x]) => `${name} ${text(x)}`).join(", ")}`);
    if (document.activeElement !== layer.field) layer.field.value = chosen.l === layer.l ? chosen.j + 1 : "";
    layer.card.classList.toggle("lit", steps[step].layer === layer.l);
  }
}
const shortScale = x => (x === 0 ? "0" : x >= 1e-3 && x < 1e4 ? String(Number(x.toPrecision(2))) : `${Number(x.toExponential(0).split("e")[0])}·10${raised(Number(x.toExponential(0).split("e")[1]))}`);
function valuesOf(l, j) {
  return Object.entries(at(l).rows).filter(([name]) => step >= computed(name, l)).map(([name]) => [l === 1 ? { a: "x", g: "∂C/∂x" }[name] : QUANTITIES[name], at(l)[name][j]]);
}

// The arrows between two layers: the largest terms of the selected neuron, forwards (1) and backwards (BP2).
function forwardSum(l, j) { return sumOf(at(l - 1).n, k => weight(l, j, k) * at(l - 1).a[k]); }
function backwardSum(l, j) { return sumOf(at(l + 1).n, i => weight(l + 1, i, j) * at(l + 1).d[i]); }
function cellX(layer, j, name, gap) {
  const canvas = layer.rows[name].querySelector("canvas");
  const left = canvas.getBoundingClientRect().left - gap.getBoundingClientRect().left;
  return left + (j % layer.grid.columns + 0.5) * layer.grid.w;
}
function drawGaps() {
  const { phase, layer: now } = steps[step];
  for (let l = 2; l <= L; l++) {
    const gap = gaps[l], svg = gap.querySelector("svg"), label = gap.querySelector(".label");
    const forward = phase === 2 && now === l, backward = phase === 4 && now === l - 1, gradient = phase === 5;
    gap.classList.toggle("lit", forward || backward || gradient);
    gap.dataset.direction = forward ? "forward" : backward ? "backward" : gradient ? "gradient" : "";
    const W = `<msup>${mi("W")}<mn>${l}</mn></msup>`, up = (name, k) => `<msup>${mi(name)}<mn>${k}</mn></msup>`;
    label.innerHTML = gradient && step === steps.length - 1
      ? math(row(mi("∂"), mi("C"), mo("/"), mi("∂"), W, mo("="), up("δ", l), mo("("), up("a", l - 1), `<msup>${mo(")")}${mi("T")}</msup>`))
      : backward || phase === 4 && now < l - 1 ? `↑ ` + math(row(mo("("), W, `<msup>${mo(")")}${mi("T")}</msup>`, up("δ", l)))
      : `↓ ` + math(row(W, up("a", l - 1), ...(at(l).b ? [mo("+"), up("b", l)] : [])));
    const lines = [], height = gap.clientHeight;
    const arrow = (x1, x2, value, largest, down) => {
      const colour = value < 0 ? "var(--negative)" : "var(--positive)", width = 1 + 3 * Math.abs(value) / largest;
      const [from, to] = down ? [[x1, 0], [x2, height]] : [[x2, height], [x1, 0]];
      lines.push(`<line x1="${from[0]}" y1="${from[1]}" x2="${to[0]}" y2="${to[1]}" stroke="${colour}" stroke-width="${width.toFixed(1)}"/>`,
        `<circle cx="${to[0]}" cy="${to[1]}" r="${(width + 1.5).toFixed(1)}" fill="${colour}"/>`);
    };
    if (chosen.l === l && step >= stepOf.forward(l) && phase !== 4) {
      const { shown } = forwardSum(l, chosen.j), largest = Math.abs(shown[0][1]) || 1;
      for (const [k, value] of shown) arrow(cellX(at(l - 1), k, "a", gap), cellX(at(l), chosen.j, "z", gap), value, largest, true);
    }
    if (chosen.l === l - 1 && step >= computed("g", chosen.l)) {
      const { shown } = backwardSum(l - 1, chosen.j), largest = Math.abs(shown[0][1]) || 1;
      for (const [i, value] of shown) arrow(cellX(at(l - 1), chosen.j, "g", gap), cellX(at(l), i, "d", gap), value, largest, false);
    }
    svg.innerHTML = lines.join("");
  }
}

// The panel: equations of the selected neuron and weight.
const panel = document.getElementById("details");
const sigma = l => escape(at(l).activation);
function neuronEquations(l, j) {
  const layer = at(l), out = [];
  const known = name => step >= computed(name, l);
  if (l > 1) {
    const before = at(l - 1), sum = forwardSum(l, j);
    if (known("z")) {
      out.push(heading("Feedforward"));
      out.push(equation("(1)", math(row(at_("z", j, l), mo("="), `<munder>${mo("∑")}${mi("k")}</munder>`, at_("w", [j, "k"], l), at_("a", "k", l - 1), ...(layer.b ? [mo("+"), at_("b", j, l)] : []))),
        ...sumPieces(sum, k => [weight(l, j, k), before.a[k]], { name: k => `weight ${weightName(l, j, k)} times activation ${k + 1}`, go: k => choose(l, j, k) }),
        ...(layer.b ? [math(row(mo("+"), mn(layer.b[j], true))) + `<small>(bias)</small>`] : []), result("z", layer.z[j])));
      out.push(layer.s
        ? equation("(2)", math(row(at_("a", j, l), mo("="), mi("σ"), mo("("), at_("z", j, l), mo(")"))), `<small>σ is ${sigma(l)}</small>`, result("a", layer.a[j]))
        : equation("(2)", math(row(at_("a", j, l), mo("="), `<mfrac><msup>${mi("e")}${at_("z", j, l)}</msup>${row(`<munder>${mo("∑")}${mi("i")}</munder>`, `<msup>${mi("e")}${at_("z", "i", l)}</msup>`)}</mfrac>`)), result("a", layer.a[j])));
    }
    if (known("d")) out.push(...(l === L ? outputError(j) : hiddenError(l, j)));
    else out.push(note(`Step ${l === L ? 3 : 4} computes δ.`));
    if (known("d") && layer.b) out.push(equation("(BP3)", math(row(partial(cost, at_("b", j, l)), mo("="), at_("δ", j, l))), result("bias", layer.d[j])));
  } else {
    out.push(equation("", math(row(at_("a", j, 1), mo("="), `<msub>${mi("x")}${index(j)}</msub>`)), result("a", layer.a[j])));
    if (known("g")) out.push(heading("Backpropagate"), gradientOfActivation(1, j));
  }
  return out;
}
function outputError(j) {
  const layer = at(L), out = [heading("Output error")];
  if (layer.s && Number.isFinite(layer.g[j])) {
    out.push(equation("(BP1)", math(row(at_("δ", j, L), mo("="), partial(cost, at_("a", j, L)), slopeOf(j, L))),
      math(row(mo("="), mn(layer.g[j]), mo("·"), mn(layer.s[j], true))), result("delta", layer.d[j])));
  } else {
    out.push(equation("(BP1)", math(row(at_("δ", j, L), mo("="), at_("a", j, L), mo("−"), `<msub>${mi("y")}${index(j)}</msub>`)),
      math(row(mo("="), mn(layer.a[j]), mo("−"), mn(y[j], true))), result("delta", layer.d[j])));
    if (!layer.s) out.push(note("Each output of softmax depends on every z of the layer. With the log-likelihood cost, (BP1) becomes this difference."));
  }
  return out;
}
function gradientOfActivation(l, j) {
  const after = at(l + 1);
  return equation("", math(row(partial(cost, at_("a", j, l)), mo("="), `<munder>${mo("∑")}${mi("i")}</munder>`, at_("w", ["i", j], l + 1), at_("δ", "i", l + 1))),
    ...sumPieces(backwardSum(l, j), i => [weight(l + 1, i, j), after.d[i]], { name: i => `weight ${weightName(l + 1, i, j)} times δ of neuron ${i + 1}`, go: i => choose(l + 1, i, j) }),
    result("gradient", at(l).g[j]));
}
function hiddenError(l, j) {
  const layer = at(l);
  return [heading("Backpropagate"), gradientOfActivation(l, j),
    equation("(BP2)", math(row(at_("δ", j, l), mo("="), mo("("), `<munder>${mo("∑")}${mi("i")}</munder>`, at_("w", ["i", j], l + 1), at_("δ", "i", l + 1), mo(")"), slopeOf(j, l))),
      math(row(mo("="), mn(layer.g[j]), mo("·"), mn(layer.s[j], true))), result("delta", layer.d[j]))];
}
function weightEquations(l, j, k) {
  const layer = at(l), w = weight(l, j, k), a = at(l - 1).a[k], slope = a * layer.d[j], out = [];
  const name = named("w", [j, k], l);
  out.push(note(`It connects ${l === 2 ? "input" : "neuron"} ${k + 1} of layer ${l - 1} to neuron ${j + 1} of layer ${l}.`),
    equation("", math(row(name, mo("="))), result("weight", w, false)));
  if (step < computed("d", l)) return [...out, note("Step 5 computes its derivative.")];
  const factors = layer.s && Number.isFinite(layer.g[j])
    ? [[partial(cost, named("a", [j], l)), layer.g[j]], [partial(named("a", [j], l), named("z", [j], l)), layer.s[j]]]
    : [[partial(cost, named("z", [j], l)), layer.d[j]]];
  factors.push([partial(named("z", [j], l), name), a]);
  out.push(equation("", math(row(partial(cost, name), mo("="))), ...factors.map(([f], i) => math(row(i ? mo("·") : "", f))),
    math(row(mo("="), ...factors.flatMap(([, x], i) => [i ? mo("·") : "", mn(x, true)]))), result("chain", slope)));
  if (factors.length === 2) out.push(note("The first two factors are one here: δ = a − y."));
  out.push(equation("(BP4)", math(row(partial(cost, at_("w", [j, k], l)), mo("="), at_("a", k, l - 1), at_("δ", j, l))),
    math(row(mo("="), mn(a), mo("·"), mn(layer.d[j], true))), result("nabla", slope)));
  const after = document.createElement("span");
  const rate = document.createElement("label");
  rate.innerHTML = `<small>learning rate η</small> <input type="number" id="eta" min="0" step="any" value="${eta}">`;
  const write = () => {
    after.innerHTML = math(row(mo("="), mn(w), mo("−"), mn(eta), mo("·"), mn(slope, true))) + result("stepped", w - eta * slope);
  };
  rate.querySelector("input").addEventListener("input", event => { eta = Number(event.target.value) || 0; write(); });
  after.className = EQUATION;
  write();
  out.push(equation("", `<small>One step of gradient descent on this example:</small>`), equation("", math(row(name, mo("←"), name, mo("−"), mi("η"), partial(cost, name))), after, rate));
  return out;
}
const heading = s => { const h = document.createElement("h3"); h.textContent = s; return h; };
const note = s => { const p = document.createElement("p"); p.className = "quiet"; p.textContent = s; return p; };
const result = (name, x, equals = true) => `<span class="result" data-result="${name}">${equals ? math(row(mo("="), mn(x))) : math(mn(x))}</span>`;

function weightPictures(l, j) {
  const box = document.createElement("div"), n = at(l - 1).n;
  box.id = "weights";
  box.tabIndex = 0;
  box.setAttribute("role", "slider");
  box.setAttribute("aria-label", `Weight into ${neuronName(l, j)}`);
  box.setAttribute("aria-valuemin", 1);
  box.setAttribute("aria-valuemax", n);
  box.innerHTML = ["w", "∂C/∂w"].map(name => `<div><small>${name}</small> <small class="scale"></small><canvas aria-hidden="true"></canvas></div>`).join("");
  const rows = [at(l).w.subarray(j * n, (j + 1) * n), at(l - 1).a.map(a => a * at(l).d[j])];
  if (step < computed("d", l)) { rows.pop(); box.lastChild.remove(); }
  pickable(box, n, () => chosen.k, k => { choose(l, j, k); document.getElementById("weights").focus(); });
  box.draw = () => {
    const width = panel.clientWidth - 20, shape = l === 2 ? data.shape : null;
    const grid = gridOf(n, shape, shape ? Math.min(width, 392) : n > 64 ? width / 2 - 12 : width);
    box.querySelectorAll("canvas").forEach((canvas, i) => {
      const largest = paint(canvas, rows[i], grid, chosen.k);
      canvas.previousElementSibling.textContent = `±${shortScale(largest)}`;
    });
    box.setAttribute("aria-valuenow", chosen.k + 1);
    box.setAttribute("aria-valuetext", `${weightName(l, j, chosen.k)} ${text(weight(l, j, chosen.k))}`);
  };
  return box;
}

// The demon of Nielsen's chapter 2 adds Δz to the weighted input of a neuron.
function demon(l, j) {
  const layer = at(l), box = document.createElement("div"), place = layer.nudged.indexOf(j), count = data.nudges.length;
  box.className = "nudge";
  const truth = place < 0 ? null : [...layer.changes.subarray(place * count, (place + 1) * count)];
  const delta = layer.d[j];
  box.innerHTML = `<label><small>Δz</small> <input type="range" id="nudge" min="-20" max="20" step="1" value="${nudge}"></label><div class="said" role="status"></div>`;
  const slider = box.querySelector("input");
  const write = () => {
    const dz = nudge / 10, true_ = nudge === 0 ? 0 : truth ? truth[data.nudges.findIndex(x => Math.round(x * 10) === nudge)] : null;
    slider.setAttribute("aria-valuetext", `Δz ${text(dz)}`);
    box.querySelector(".said").innerHTML = `<table><tr><td>Δz</td><td><span data-result="dz">${text(dz)}</span></td></tr>
      <tr><td><span class="key dashed"></span> predicted change of the cost, δ Δz</td><td><span data-result="predicted">${text(delta * dz)}</span></td></tr>
      <tr><td><span class="key"></span> true change</td><td><span data-result="true">${true_ === null ? "–" : text(true_)}</span></td></tr></table>${true_ === null ? `<small>The page has the true changes for the ${data.mostNudged} neurons of this layer with the largest |δ|. This neuron is not one of them.</small>` : ""}`;
    const mark = box.querySelector(".mark");
    if (mark && true_ !== null) { mark.setAttribute("cx", scaleX(dz)); mark.setAttribute("cy", scaleY(true_)); }
  };
  const xs = [...data.nudges.slice(0, count / 2), 0, ...data.nudges.slice(count / 2)];
  const ys = truth ? [...truth.slice(0, count / 2), 0, ...truth.slice(count / 2)] : [];
  const largest = Math.max(Math.abs(delta) * 2, largestOf(ys)) || 1;
  const scaleX = x => 160 + 70 * x, scaleY = v => 60 - 50 * v / largest;
  box.insertAdjacentHTML("beforeend", `<svg viewBox="0 0 320 122" role="img" aria-label="Predicted and true change of the cost over Δz">
    <path d="M20 60H300M160 10V110" stroke="var(--line)"/><text x="20" y="120">Δz = −2</text><text x="300" y="120" text-anchor="end">2</text><text x="164" y="16">${text(largest)}</text>
    <path class="predicted" d="M20 ${scaleY(-2 * delta)}L300 ${scaleY(2 * delta)}"/>
    ${truth ? `<path class="true" d="M${xs.map((x, i) => `${scaleX(x).toFixed(1)} ${scaleY(Number.isFinite(ys[i]) ? ys[i] : largest).toFixed(2)}`).join("L")}"/><circle class="mark" r="5" fill="var(--negative)"/>` : ""}</svg>`);
  slider.addEventListener("input", () => { nudge = Number(slider.value); write(); });
  write();
  return box;
}

function drawPanel() {
  const { l, j, k } = chosen;
  document.getElementById("chosen").textContent = neuronName(l, j);
  const names = { z: "zs", a: "activations", g: "activation_gradients", d: "deltas" };
  const shown = Object.keys(QUANTITIES).filter(name => at(l)[name] && step >= computed(name, l));
  const table = document.createElement("table");
  table.id = "values";
  table.innerHTML = shown.map(name => `<tr><th scope="row">${l === 1 ? { a: "x", g: "∂C/∂x" }[name] : QUANTITIES[name]}</th><td data-value="${name}">${text(at(l)[name][j])}</td><td>${names[name] ? `<code>trace.${names[name]}[${name === "z" || name === "d" ? l - 2 : l - 1}][${j}, ${data.example}]</code>` : ""}</td></tr>`).join("");
  if (l === L && step >= computed("a", L)) table.insertAdjacentHTML("beforeend", `<tr><th scope="row">y</th><td data-value="y">${text(y[j])}</td><td><small>target</small></td></tr>`);
  const parts_ = [table, ...neuronEquations(l, j)];
  if (l > 1) {
    const title = document.createElement("h3"), field = document.createElement("label");
    title.innerHTML = `Weight <span id="weight-name">${weightName(l, j, k)}</span> `;
    field.innerHTML = `<small>from ${l === 2 ? "input" : "neuron"} <input type="number" id="from" min="1" max="${at(l - 1).n}" value="${k + 1}"></small>`;
    field.querySelector("input").addEventListener("change", event => {
      choose(l, j, Math.min(at(l - 1).n, Math.max(1, Math.round(Number(event.target.value) || 1))) - 1);
      document.getElementById("from").focus();
    });
    title.append(field);
    const pictures = weightPictures(l, j);
    parts_.push(title, pictures, ...weightEquations(l, j, k));
    if (step >= computed("d", l)) parts_.push(heading("The demon changes z by Δz"), demon(l, j));
    panel.replaceChildren(...parts_);
    pictures.draw();
  } else panel.replaceChildren(...parts_);
}

// Choosing, stepping, drawing.
function largestTerm(l, j) { return l > 1 ? forwardSum(l, j).shown[0][0] : 0; }
function choose(l, j, k = null) {
  Object.assign(chosen, { l, j, k: k ?? largestTerm(l, j) });
  at(l).last = j;
  draw();
}
function largestError(l) { // the index of the largest |δ| of a layer, or of the largest |∂C/∂x|
  return (at(l).d ?? at(l).g).reduce((best, x, i, all) => (Math.abs(x) > Math.abs(all[best]) ? i : best), 0);
}
function go(to) { // the selection follows to the layer of the step, so that its arrows are shown
  step = Math.min(steps.length - 1, Math.max(0, to));
  const { layer } = steps[step];
  if (layer !== null && layer !== chosen.l) choose(layer, at(layer).last ?? largestError(layer));
  else draw();
}
function drawSteps() {
  const { phase, text: said } = steps[step];
  document.querySelectorAll("#steps button").forEach((button, i) => {
    if (i + 1 === phase) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  });
  document.getElementById("back").disabled = step === 0;
  document.getElementById("forward").disabled = step === steps.length - 1;
  document.getElementById("step-text").textContent = said;
}
function draw() {
  drawSteps();
  drawLayers();
  drawGaps();
  drawPanel();
}

function start() {
  document.getElementById("title").textContent = document.title;
  const best = values => values.reduce((b, x, i) => (x > values[b] ? i : b), 0), out = at(L);
  const label = i => (nameOf(L, i) ? `“${nameOf(L, i)}”` : `neuron ${i + 1}`);
  const answer = out.n > 1 ? `Largest output: ${label(best(out.a))}; target: ${label(best(y))}.` : `The output is ${text(out.a[0])}, the target ${text(y[0])}.`;
  document.getElementById("about").textContent = `Network ${data.sizes.join("-")} in ${data.dtype}. ${data.costValue === null ? "The cost is infinite" : `The ${data.cost} cost is ${text(data.costValue)}`}. ${answer}`;
  document.getElementById("steps").innerHTML = PHASES.map((name, i) => `<li><button type="button">${i + 1} ${name}</button></li>`).join("");
  document.querySelectorAll("#steps button").forEach((button, i) => button.addEventListener("click", () => go(i === 4 ? steps.length - 1 : Math.max(steps.findIndex(s => s.phase === i + 1), 0))));
  document.getElementById("back").addEventListener("click", () => go(step - 1));
  document.getElementById("forward").addEventListener("click", () => go(step + 1));
  readColours();
  choose(L, largestError(L));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
}
start();
