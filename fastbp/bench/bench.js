"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const results = data.results;
const backends = [...new Set(data.points.map(p => p.backend))];
const nets = [...new Set(data.points.map(p => p.net))];
const DASHES = ["", "7 4", "9 3 2 3", "2 3"];
const colour = backend => `var(--c${backends.indexOf(backend) % 4})`;
const dash = backend => DASHES[backends.indexOf(backend) % 4];
const escape = s => s.replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);
const count = x => x.toLocaleString("en", { maximumSignificantDigits: 4 });
const percent = x => `${(100 * x).toFixed(x < 0.1 ? 1 : 0)} %`;

function mark(backend, x, y) { // each backend has a marker of its own, for readers who cannot tell the colours apart
  const fill = `fill="${colour(backend)}"`;
  return [
    `<circle cx="${x}" cy="${y}" r="4.5" ${fill}/>`,
    `<rect x="${x - 4}" y="${y - 4}" width="8" height="8" ${fill}/>`,
    `<path d="M${x} ${y - 5.5}l5 9h-10z" ${fill}/>`,
    `<path d="M${x} ${y - 6}l6 6l-6 6l-6 -6z" ${fill}/>`,
  ][backends.indexOf(backend) % 4];
}

// One chart: a network, with the mini-batch size on a logarithmic axis.
const W = 400, H = 270, LEFT = 56, RIGHT = 12, TOP = 10, BOTTOM = 40;
function chart(host, net, value, logarithmic, show) {
  const points = data.points.filter(p => p.net === net && value(p) !== null);
  if (!points.length) return;
  const sizes = [...new Set(points.map(p => p.m))].sort((a, b) => a - b);
  const logs = sizes.map(Math.log), span = logs[logs.length - 1] - logs[0];
  const X = m => LEFT + 12 + (span ? (Math.log(m) - logs[0]) / span : 0.5) * (W - LEFT - RIGHT - 24);
  const all = points.flatMap(p => (logarithmic ? [p.low, p.high, p.floor] : [value(p)]));
  const low = logarithmic ? Math.floor(Math.log10(Math.min(...all)) * 2) / 2 : 0;
  const high = logarithmic ? Math.ceil(Math.log10(Math.max(...all)) * 2) / 2 : Math.max(...all) * 1.1;
  const scale = v => (logarithmic ? Math.log10(v) : v);
  const Y = v => TOP + (1 - (scale(v) - low) / (high - low || 1)) * (H - TOP - BOTTOM);
  const ticks = [];
  if (logarithmic) for (let e = Math.floor(low); e <= high; e++) for (const f of high - low > 2 ? [1] : [1, 2, 5]) { const t = f * 10 ** e; if (scale(t) >= low && scale(t) <= high) ticks.push(t); }
  else for (let i = 0; i <= 4; i++) ticks.push(high * i / 4);
  const parts = ticks.map(t => `<path class="grid" d="M${LEFT} ${Y(t)}H${W - RIGHT}"/><text x="${LEFT - 6}" y="${Y(t) + 4}" text-anchor="end">${logarithmic ? t.toLocaleString("en", { notation: "compact" }) : percent(t)}</text>`);
  let last = -Infinity;
  for (const m of sizes) {
    parts.push(`<path class="grid" d="M${X(m)} ${TOP}V${H - BOTTOM}"/>`);
    if (X(m) - last > 34) { parts.push(`<text x="${X(m)}" y="${H - BOTTOM + 16}" text-anchor="middle">${m.toLocaleString("en")}</text>`); last = X(m); }
  }
  parts.push(`<text x="${(LEFT + W) / 2}" y="${H - 6}" text-anchor="middle">mini-batch size</text>`);
  const line = (list, f, attributes) => `<path fill="none" ${attributes} d="M${list.map(p => `${X(p.m).toFixed(1)} ${Y(f(p)).toFixed(1)}`).join("L")}"/>`;
  const floors = new Set();
  for (const backend of backends) {
    const own = points.filter(p => p.backend === backend).sort((p, q) => p.m - q.m);
    if (!own.length) continue;
    if (logarithmic && !floors.has(own[0].where)) { floors.add(own[0].where); parts.push(line(own, p => p.floor, `class="floor" stroke="${colour(backend)}"`)); }
    parts.push(line(own, value, `stroke="${colour(backend)}" stroke-width="2" stroke-dasharray="${dash(backend)}"`));
    for (const p of own) {
      if (logarithmic) parts.push(`<path stroke="${colour(backend)}" stroke-width="2" d="M${X(p.m)} ${Y(p.low)}V${Y(p.high)}"/>`);
      parts.push(mark(backend, X(p.m), Y(value(p))));
    }
  }
  const figure = document.createElement("figure");
  figure.className = "card";
  figure.tabIndex = 0;
  figure.setAttribute("aria-label", `${net}: ${points.length} measurements, arrow keys read them`);
  figure.innerHTML = `<figcaption>${escape(net)}</figcaption><svg viewBox="0 0 ${W} ${H}" aria-hidden="true">${parts.join("")}<circle class="chosen" r="8" visibility="hidden"/></svg><output role="status"></output>`;
  const svg = figure.querySelector("svg"), ring = figure.querySelector(".chosen"), said = figure.querySelector("output");
  let current = -1;
  const select = i => {
    current = i;
    ring.setAttribute("cx", X(points[i].m));
    ring.setAttribute("cy", Y(value(points[i])));
    ring.setAttribute("visibility", "visible");
    said.textContent = `${points[i].backend}, mini-batches of ${points[i].m.toLocaleString("en")}: ${show(points[i])}`;
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * W / box.width, y = (event.clientY - box.top) * H / box.height;
    const far = points.map(p => (X(p.m) - x) ** 2 + (Y(value(p)) - y) ** 2);
    select(far.indexOf(Math.min(...far)));
  });
  figure.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    select((current + step + points.length) % points.length);
  });
  host.append(figure);
}

const texts = { title: document.title, report: data.report, method: data.legend, command: results.command };
for (const [id, text] of Object.entries(texts)) document.getElementById(id).textContent = text;
document.getElementById("verdict").append(...data.verdict.map(text => Object.assign(document.createElement("li"), { textContent: text })));
document.getElementById("legend").innerHTML = backends.map(b => `<span><svg viewBox="0 0 44 14" aria-hidden="true"><path d="M0 7H44" stroke="${colour(b)}" stroke-width="2" stroke-dasharray="${dash(b)}"/>${mark(b, 22, 7)}</svg> ${escape(b)}</span>`).join("");
for (const net of nets) {
  chart(document.getElementById("rates"), net, p => p.rate, true, p => `${count(p.rate)} examples/s (quartiles ${count(p.low)} and ${count(p.high)}); matrix products alone ${count(p.floor)}`);
  chart(document.getElementById("shares"), net, p => p.peak, false, p => `${percent(p.peak)} of the peak rate`);
}
const rows = { date: results.date, processor: `${results.processor}, ${results.cores} cores`, ...Object.fromEntries(results.machines.map(m => [m.where, m.device])), ...results.information };
document.getElementById("machine").innerHTML = Object.entries(rows).map(([name, text]) => `<tr><th scope="row">${escape(name)}</th><td>${escape(String(text))}</td></tr>`).join("");
document.getElementById("download").addEventListener("click", () => {
  const link = Object.assign(document.createElement("a"), { download: "bench.json", href: URL.createObjectURL(new Blob([JSON.stringify(results, null, 1)], { type: "application/json" })) });
  link.click();
  URL.revokeObjectURL(link.href);
});
