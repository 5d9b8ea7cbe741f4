"""Scripts and style of the map's pages: what both share, and what draws the dots, plotly or a
canvas.

Words from a corpus reach a page by `textContent` alone, and plotly never sees them: it draws dots
and tells which one is pointed at; the card beside the map is ours. plotly understands a little HTML
in its labels, and what it understands is decided by its version.

Each drawer sets `map.at(i)`, where document i is in pixels of the map, calls `show` when one is
pointed at, and says `data-ready` when it has drawn.
"""

__all__ = ["CANVAS", "PLOTLY", "STYLE"]

STYLE = """
body { max-width: 76rem; } header { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline; }
fieldset { border: 0; margin: .5rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem; }
legend { float: left; padding: .35rem .4rem .35rem 0; color: var(--soft); }
label { border: 1px solid var(--line); border-radius: 6px; padding: .35rem .7rem; cursor: pointer; }
label:has(:checked) { background: var(--ink); color: var(--paper); border-color: var(--ink); }
label:has(:focus-visible) { outline: 3px solid var(--blue); outline-offset: 1px; }
label input { position: absolute; opacity: 0; }
main { display: grid; grid-template-columns: minmax(0, 1fr) 17rem; gap: 1rem; }
#place { position: relative; overflow: hidden; }
#map { height: min(78vh, 46rem); min-height: 20rem; border: 1px solid var(--line); border-radius: 6px; }
#map canvas { width: 100%; height: 100%; display: block; touch-action: none; cursor: grab; }
#ring { position: absolute; left: -8px; top: -8px; width: 16px; height: 16px; border: 3px solid var(--ink);
  border-radius: 50%; pointer-events: none; }
#ring[hidden] { display: none; }
#scale { margin: .5rem .2rem; display: flex; flex-wrap: wrap; gap: .2rem .9rem; justify-content: space-between; }
#scale button { border: 0; background: none; font: inherit; color: inherit; padding: .2rem; cursor: pointer; }
#scale button[aria-pressed="false"] { opacity: .35; }
#scale i { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; margin-right: .4rem; }
#scale .bar { width: 100%; height: .8rem; }
#card { min-height: 11rem; }
#card dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .8rem; margin: .6rem 0; }
#card dt { color: var(--soft); } #card dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
#excerpt { background: var(--wash); border-radius: 6px; padding: .7rem; unicode-bidi: isolate; min-height: 4.5rem; }
@media (max-width: 46rem) { main { grid-template-columns: minmax(0, 1fr); } #map { height: min(66vh, 108vw); }
  body { padding: .7rem; } #card { min-height: 15rem; } }
"""

SHARED = """
"use strict";
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ours = (colours) => colours[dark.matches ? "dark" : "light"];
const shownBy = (by) => (by.magnitudes ? (v) => Math.log10(Math.max(v, 1)) : (v) => v);
const colouring = (data) => data.numbers.find((n) => n.column === document.querySelector("input:checked").value);
const groupOf = (data, i) => Math.min(data.source[i], data.groups.length - 1);

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function made(kind, words) {
  const element = document.createElement(kind);
  element.textContent = words;
  return element;
}

function show(data, i) {
  const facts = [[data.by, data.names[data.source[i]]], ...data.numbers.map((n) => [n.words,
    n.values[i] === null ? "–" : n.values[i].toLocaleString("en")]), ["held out", data.held_out[i] ? "yes" : "no"]];
  byId("facts").replaceChildren(...facts.flatMap(([name, value]) => [made("dt", name), made("dd", value)]));
  byId("excerpt").textContent = data.excerpt[i];
  const [x, y] = byId("map").at(i);
  byId("ring").style.translate = `${x}px ${y}px`;
  byId("ring").hidden = false;
}

function begin(draw) {
  const anew = () => { byId("ring").hidden = true; draw(); };
  document.querySelector("fieldset").addEventListener("change", anew);
  dark.addEventListener("change", anew);
  document.documentElement.dataset.ready = "yes";
}

function failed(error) {
  byId("excerpt").textContent = `The map can't be drawn here: ${error.message}. The figures beside it show the same.`;
  throw error;
}
"""

PLOTLY = (
    SHARED
    + """
function drawsOnCard() {
  try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
}

const start = (data, kind) => {
  const everything = data.x.map((_, i) => i);
  const dots = (chosen, marker, more) => ({
    type: kind, mode: "markers", hoverinfo: "none", customdata: chosen, marker: { size: data.size, ...marker },
    x: chosen.map((i) => data.x[i]), y: chosen.map((i) => data.y[i]), showlegend: false, ...more });

  const bySource = () => data.groups.map((_, g) => dots(everything.filter((i) => groupOf(data, i) === g),
    { color: ours(data.palette)[g % data.palette.dark.length] }, { name: `group ${g}`, showlegend: true }));

  function byNumber(by) {
    const [known, unknown] = [true, false].map((w) => everything.filter((i) => (by.values[i] !== null) === w));
    const [shown, ramp] = [shownBy(by), ours(data.ramp)];
    const bar = { orientation: "h", y: 0, yanchor: "top", thickness: 12, outlinewidth: 0, ypad: 6,
      tickvals: by.ticks.map(shown), ticktext: by.written };
    return [
      dots(unknown, { color: ink("--line") }),
      dots(known, { color: known.map((i) => shown(by.values[i])), cmin: shown(by.low), cmax: shown(by.high),
        colorscale: ramp.map((c, i) => [i / (ramp.length - 1), c]), colorbar: bar, showscale: true })];
  }

  function draw() {
    const by = colouring(data);
    const layout = { margin: { l: 12, r: 12, t: 30, b: 54 }, dragmode: "pan", hovermode: "closest",
      uirevision: "same", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink("--ink"), size: 13 },
      legend: { orientation: "h", y: 0, yanchor: "top", itemsizing: "constant" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink("--soft"), activecolor: ink("--blue") },
      xaxis: { visible: false }, yaxis: { visible: false, scaleanchor: "x" } };
    const buttons = [["pan2d", "zoom2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]];
    return Plotly.react("map", by ? byNumber(by) : bySource(), layout, { responsive: true, scrollZoom: true,
      displaylogo: false, modeBarButtons: buttons }).then(named);
  }

  // A source's name is a person's or a file's: the legend's words are written over plotly's by textContent.
  function named() {
    document.querySelectorAll("#map .legendtext").forEach((words) => {
      const group = /^group (\\d+)$/.exec(words.textContent);
      if (group) words.textContent = data.groups[Number(group[1])];
    });
  }

  byId("map").at = (i) => {
    const { xaxis, yaxis } = byId("map")._fullLayout;
    return [xaxis._offset + xaxis.l2p(data.x[i]), yaxis._offset + yaxis.l2p(data.y[i])];
  };
  return draw().then(() => {
    const leave = () => { byId("ring").hidden = true; };
    for (const happens of ["plotly_hover", "plotly_click"])
      byId("map").on(happens, (e) => show(data, e.points[0].customdata));
    for (const happens of ["plotly_relayouting", "plotly_relayout"]) byId("map").on(happens, leave);
    byId("map").on("plotly_afterplot", named);
    begin(draw);
  });
};

(async () => {
  const [library, data] = await Promise.all([unpacked("plotly"), unpacked("data")]);
  document.head.append(made("script", library));
  await start(JSON.parse(data), drawsOnCard() ? "scattergl" : "scatter");
})().catch(failed);
"""
)

CANVAS = (
    SHARED
    + """
const NEAR = 14, EDGE = 16;

function start(data) {
  const canvas = byId("map").appendChild(document.createElement("canvas")), brush = canvas.getContext("2d");
  const fingers = new Map(), hidden = new Set();
  let view = null, colours = [], moved = 0;
  const largest = data.x.concat(data.y).reduce((most, v) => Math.max(most, Math.abs(v)), 1);
  const at = (i) => [view.x + view.scale * data.x[i], view.y - view.scale * data.y[i]];
  const drawn = (i) => !hidden.has(groupOf(data, i));
  byId("map").at = at;

  function fit() {
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    view = { scale: (Math.min(w, h) / 2 - EDGE) / largest, x: w / 2, y: h / 2 };
  }

  function mixed(ramp, share) {
    const place = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
    const low = Math.min(Math.floor(place), ramp.length - 2);
    const part = (k, c) => parseInt(ramp[k].slice(1 + 2 * c, 3 + 2 * c), 16);
    const between = (c) => Math.round(part(low, c) + (place - low) * (part(low + 1, c) - part(low, c)));
    return `rgb(${[0, 1, 2].map(between)})`;
  }

  function coloured() {
    const by = colouring(data);
    byId("scale").replaceChildren(...(by ? bar(by) : legend()));
    if (!by) return data.x.map((_, i) => ours(data.palette)[groupOf(data, i) % data.palette.dark.length]);
    const [shown, ramp] = [shownBy(by), ours(data.ramp)], [low, high] = [by.low, by.high].map(shown);
    return by.values.map((v) => (v === null ? ink("--line") : mixed(ramp, (shown(v) - low) / (high - low))));
  }

  function legend() {
    return data.groups.map((name, g) => {
      const [button, dot] = [document.createElement("button"), document.createElement("i")];
      dot.style.background = ours(data.palette)[g % data.palette.dark.length];
      button.setAttribute("aria-pressed", String(!hidden.has(g)));
      button.append(dot, name);
      button.addEventListener("click", () => { hidden.delete(g) || hidden.add(g); draw(); });
      return button;
    });
  }

  function bar(by) {
    const stripe = document.createElement("div");
    stripe.className = "bar";
    stripe.style.background = `linear-gradient(to right, ${ours(data.ramp).join(", ")})`;
    return [stripe, ...by.written.map((words) => made("span", words))];
  }

  function paint() {
    const pixels = devicePixelRatio || 1, radius = Math.max(1.2, data.size / 2);
    brush.setTransform(pixels, 0, 0, pixels, 0, 0);
    brush.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    for (let i = 0; i < data.x.length; i++) {
      if (!drawn(i)) continue;
      const [x, y] = at(i);
      brush.fillStyle = colours[i];
      brush.beginPath();
      brush.arc(x, y, radius, 0, 7);
      brush.fill();
    }
  }

  function draw() {
    colours = coloured();
    paint();
  }

  function nearest(x, y) {
    let [best, found] = [NEAR * NEAR, -1];
    for (let i = 0; i < data.x.length; i++) {
      const [dx, dy] = [at(i)[0] - x, at(i)[1] - y], distance = dx * dx + dy * dy;
      if (distance < best && drawn(i)) [best, found] = [distance, i];
    }
    return found;
  }

  function zoom(by, x, y) {
    const factor = Math.min(Math.max(by * view.scale, 1e-4), 10) / view.scale;
    view = { scale: view.scale * factor, x: x + (view.x - x) * factor, y: y + (view.y - y) * factor };
    byId("ring").hidden = true;
    paint();
  }

  function drag(event) {
    const old = fingers.get(event.pointerId), now = [event.offsetX, event.offsetY];
    const other = [...fingers].find(([id]) => id !== event.pointerId);
    fingers.set(event.pointerId, now);
    moved += Math.hypot(now[0] - old[0], now[1] - old[1]);
    if (other) {
      const [x, y] = other[1];
      zoom(Math.hypot(now[0] - x, now[1] - y) / Math.max(1, Math.hypot(old[0] - x, old[1] - y)), x, y);
    } else if (moved > 3) {
      view = { ...view, x: view.x + now[0] - old[0], y: view.y + now[1] - old[1] };
      byId("ring").hidden = true;
      paint();
    }
  }

  function point(event) {
    const i = nearest(event.offsetX, event.offsetY);
    if (i >= 0) show(data, i);
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => (fingers.has(event.pointerId) ? drag : point)(event));
  canvas.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (moved <= 3) point(event);
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("dblclick", () => { fit(); paint(); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  new ResizeObserver(() => {
    [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight].map((s) => s * (devicePixelRatio || 1));
    fit();
    draw();
  }).observe(canvas);
  fit();
  begin(draw);
}

unpacked("data").then((data) => start(JSON.parse(data))).catch(failed);
"""
)
