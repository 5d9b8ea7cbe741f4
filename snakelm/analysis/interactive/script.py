"""The script and style of the map's page.

Words from a corpus reach the page by `textContent` alone, and plotly never sees them: it draws dots and tells which
one is pointed at; the card beside the map is ours. plotly understands a little HTML in its labels, and what it
understands is decided by its version.
"""

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
body { max-width: 76rem; } header { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline; }
fieldset { border: 0; margin: .5rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem; }
legend { float: left; padding: .35rem .4rem .35rem 0; color: var(--soft); }
label { border: 1px solid var(--line); border-radius: 6px; padding: .35rem .7rem; cursor: pointer; }
label:has(:checked) { background: var(--ink); color: var(--paper); border-color: var(--ink); }
label:has(:focus-visible) { outline: 3px solid var(--blue); outline-offset: 1px; }
label input { position: absolute; opacity: 0; }
main { display: grid; grid-template-columns: minmax(0, 1fr) 17rem; gap: 1rem; }
#map { height: min(78vh, 46rem); min-height: 20rem; border: 1px solid var(--line); border-radius: 6px; }
#place { position: relative; }
#ring { position: absolute; left: -8px; top: -8px; width: 16px; height: 16px; border: 3px solid var(--ink);
  border-radius: 50%; pointer-events: none; }
#ring[hidden] { display: none; }
#card { min-height: 11rem; }
#card dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .8rem; margin: .6rem 0; }
#card dt { color: var(--soft); } #card dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
#excerpt { background: var(--wash); border-radius: 6px; padding: .7rem; unicode-bidi: isolate; min-height: 4.5rem; }
@media (max-width: 46rem) { main { grid-template-columns: minmax(0, 1fr); } #map { height: min(66vh, 108vw); }
  body { padding: .7rem; } #card { min-height: 15rem; } }
"""

SCRIPT = """
"use strict";
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function drawsOnCard() {
  try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
}

function start(data, kind) {
  const everything = data.x.map((_, i) => i);
  const dots = (chosen, marker, more) => ({
    type: kind, mode: "markers", hoverinfo: "none", customdata: chosen, marker: { size: data.size, ...marker },
    x: chosen.map((i) => data.x[i]), y: chosen.map((i) => data.y[i]), showlegend: false, ...more });

  function bySource() {
    const colours = data.palette[dark.matches ? "dark" : "light"];
    return data.groups.map((name, g) => dots(everything.filter((i) => Math.min(data.source[i], data.groups.length - 1)
      === g), { color: colours[g % colours.length] }, { name: `group ${g}`, showlegend: true }));
  }

  function byNumber(by) {
    const [known, unknown] = [true, false].map((w) => everything.filter((i) => (by.values[i] !== null) === w));
    const shown = by.magnitudes ? (v) => Math.log10(Math.max(v, 1)) : (v) => v;
    const scale = data.ramp[dark.matches ? "dark" : "light"];
    const bar = { orientation: "h", y: 0, yanchor: "top", thickness: 12, outlinewidth: 0, ypad: 6,
      tickvals: by.ticks.map(shown), ticktext: by.written };
    return [
      dots(unknown, { color: ink("--line") }),
      dots(known, { color: known.map((i) => shown(by.values[i])), cmin: shown(by.low), cmax: shown(by.high),
        colorscale: scale.map((c, i) => [i / (scale.length - 1), c]), colorbar: bar, showscale: true })];
  }

  function draw() {
    const chosen = document.querySelector("input:checked").value;
    const by = data.numbers.find((n) => n.column === chosen);
    const axis = { visible: false, fixedrange: false };
    const layout = { margin: { l: 12, r: 12, t: 30, b: 54 }, dragmode: "pan", hovermode: "closest", uirevision: "same",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink("--ink"), size: 13 },
      legend: { orientation: "h", y: 0, yanchor: "top", itemsizing: "constant" },
      xaxis: axis, yaxis: { ...axis, scaleanchor: "x" } };
    const bar = { bgcolor: "rgba(0,0,0,0)", color: ink("--soft"), activecolor: ink("--blue") };
    const buttons = [["pan2d", "zoom2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]];
    return Plotly.react("map", by ? byNumber(by) : bySource(), { ...layout, modebar: bar }, { responsive: true,
      scrollZoom: true, displaylogo: false, modeBarButtons: buttons }).then(() => named(by));
  }

  // A source's name is a person's or a file's: the legend's words are written over plotly's by textContent.
  function named(by) {
    if (by) return;
    document.querySelectorAll("#map .legendtext").forEach((words) => {
      const group = /^group (\\d+)$/.exec(words.textContent);
      if (group) words.textContent = data.groups[Number(group[1])];
    });
  }

  function point(at) {
    const [ring, box] = [byId("ring"), at.bbox];
    ring.hidden = !box;
    if (box) ring.style.translate = `${(box.x0 + box.x1) / 2}px ${(box.y0 + box.y1) / 2}px`;
    show(at.customdata);
  }

  function show(i) {
    const facts = [["source", data.names[data.source[i]]], ...data.numbers.map((n) => [n.words,
      n.values[i] === null ? "–" : n.values[i].toLocaleString("en")]), ["held out", data.held_out[i] ? "yes" : "no"]];
    byId("facts").replaceChildren(...facts.flatMap(([name, value]) => ["dt", "dd"].map((kind, k) => {
      const cell = document.createElement(kind);
      cell.textContent = k ? value : name;
      return cell;
    })));
    byId("excerpt").textContent = data.excerpt[i];
  }

  return draw().then(() => {
    for (const happens of ["plotly_hover", "plotly_click"]) byId("map").on(happens, (e) => point(e.points[0]));
    const leave = () => { byId("ring").hidden = true; };
    for (const happens of ["plotly_relayouting", "plotly_relayout"]) byId("map").on(happens, leave);
    byId("map").on("plotly_afterplot", () => named());
    document.querySelector("fieldset").addEventListener("change", draw);
    dark.addEventListener("change", draw);
    document.documentElement.dataset.ready = "yes";
  });
}

(async () => {
  const [library, data] = await Promise.all([unpacked("plotly"), unpacked("data")]);
  const code = document.createElement("script");
  code.textContent = library;
  document.head.append(code);
  await start(JSON.parse(data), drawsOnCard() ? "scattergl" : "scatter");
})().catch((error) => {
  byId("excerpt").textContent = `The map can't be drawn here: ${error.message}. The figures beside it show the same.`;
  throw error;
});
"""
