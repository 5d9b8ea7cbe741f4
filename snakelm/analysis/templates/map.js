// The map of documents: draws one dot per document on a canvas, lets the user move and zoom it, and
// shows what is known of the document that is pointed at. The data is PageData of map_page.py.
//
// Text of a corpus reaches the page by textContent alone, so none of it is ever markup.
"use strict";

const NEAR = 14; // pixels from the pointer within which a dot is pointed at
const MARGIN = 16; // pixels between the outermost dots and the edge
const SHADES = 64; // steps of a ramp of colours
const CLICK = 3; // pixels that a pointer may move and still click
const CLOSEST = 300; // times the scale at which everything is seen

const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const inScheme = (colours) => colours[dark.matches ? "dark" : "light"];
const styleColour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

async function unpack(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function element(kind, text = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

// "#1f2329" → [31, 35, 41]
const rgb = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
const css = (channels) => `rgb(${channels})`;

// The colour at `share` (0 to 1) of a ramp of colours.
function mix(ramp, share) {
  const place = share * (ramp.length - 1);
  const k = Math.min(Math.floor(place), ramp.length - 2);
  const [low, high] = [rgb(ramp[k]), rgb(ramp[k + 1])];
  return low.map((channel, c) => Math.round(channel + (place - k) * (high[c] - channel)));
}

function start(data) {
  const count = data.x.length;
  const x = Float32Array.from(data.x), y = Float32Array.from(data.y);
  const extents = [x, y].map((v) => v.reduce((most, value) => Math.max(most, Math.abs(value)), 1));
  const group = Uint8Array.from(data.origin, (origin) => Math.min(origin, data.groups.length - 1));
  const hidden = new Set(); // groups
  const visible = (i) => !hidden.has(group[i]);

  const map = byId("map"), canvas = map.querySelector("canvas"), brush = canvas.getContext("2d");
  if (!brush) throw new Error("this browser has no canvas");
  let selected = -1, waiting = false;
  let colours = [], colourOf = group; // channels of each colour, and its number for each document
  let ratio = 1, picture = null, dot = []; // device pixels per pixel; all of them; those of a dot

  // Where things are: document (x, y) is drawn at (view.x + scale · x, view.y − scale · y).
  let view = { scale: 1, x: 0, y: 0 };
  let showsAll = true;
  const at = (i) => [view.x + view.scale * x[i], view.y - view.scale * y[i]];
  const size = () => [canvas.clientWidth, canvas.clientHeight];
  const middle = () => size().map((length) => length / 2);
  const focus = () => (selected >= 0 ? at(selected) : middle());
  const fits = (length, axis) => Math.max(1, length / 2 - MARGIN) / extents[axis];
  const fitting = () => Math.min(...size().map(fits));
  map.at = at;

  // ---- colours

  function colour() {
    const chosen = document.querySelector("fieldset input:checked").value;
    const column = data.numbers.find((n) => n.column === chosen);
    colours = column ? colourByNumber(column) : colourByOrigin();
    byId("scale").replaceChildren(...(column ? scale(column) : []));
    byId("legend").replaceChildren(...legend(!column));
    paint();
  }

  function colourByOrigin() {
    colourOf = group;
    return data.groups.map((_, g) => rgb(inScheme(data.palette)[g]));
  }

  function colourByNumber(column) {
    const axis = column.logarithmic ? (v) => Math.log10(Math.max(v, 1)) : (v) => v;
    const low = axis(column.low), high = axis(column.high);
    const share = (v) => Math.min(Math.max((axis(v) - low) / (high - low), 0), 1);
    const shade = (v) => (v === null ? SHADES : Math.round(share(v) * (SHADES - 1)));
    colourOf = Uint8Array.from(column.values, shade);
    const ramp = inScheme(data.ramp);
    const shades = Array.from({ length: SHADES }, (_, k) => mix(ramp, k / (SHADES - 1)));
    return [...shades, rgb(styleColour("--line"))];
  }

  function scale(column) {
    const bar = element("div");
    bar.style.background = `linear-gradient(to right, ${inScheme(data.ramp).join(", ")})`;
    return [bar, ...column.ticks.map((tick) => element("span", tick))];
  }

  // Every group can be hidden, whatever the dots are coloured by.
  function legend(byGroup) {
    return data.groups.map((name, g) => {
      const button = element("button"), sample = element("i");
      if (byGroup) sample.style.background = css(colours[g]);
      button.type = "button";
      button.title = "Show or hide";
      button.setAttribute("aria-pressed", String(!hidden.has(g)));
      button.append(sample, name);
      button.addEventListener("click", () => toggle(g, button));
      return button;
    });
  }

  function toggle(g, button) {
    if (!hidden.delete(g)) hidden.add(g);
    button.setAttribute("aria-pressed", String(!hidden.has(g)));
    if (selected >= 0 && !visible(selected)) selected = -1;
    paint();
  }

  // ---- drawing

  // At most one picture a frame, however many events ask for one.
  function paint() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paintNow();
    });
  }

  // Dots are blended into the pixels one by one: with 50,000 of them a tenth of the time that the
  // canvas's own circles take.
  function paintNow() {
    const paper = Uint8Array.of(...rgb(styleColour("--paper")), 255);
    new Uint32Array(picture.data.buffer).fill(new Uint32Array(paper.buffer)[0]);
    for (let i = 0; i < count; i++) {
      if (!visible(i)) continue;
      const left = Math.floor((view.x + view.scale * x[i]) * ratio);
      const top = Math.floor((view.y - view.scale * y[i]) * ratio);
      stamp(left, top, colours[colourOf[i]]);
    }
    brush.putImageData(picture, 0, 0);
    if (selected >= 0) ring(...at(selected));
  }

  function stamp(left, top, channels) {
    const { width, height, data: bytes } = picture;
    for (const [dx, dy, share] of dot) {
      const column = left + dx, row = top + dy;
      if (column < 0 || row < 0 || column >= width || row >= height) continue;
      const first = 4 * (row * width + column);
      for (let c = 0; c < 3; c++) bytes[first + c] += share * (channels[c] - bytes[first + c]);
    }
  }

  // The pixels of a dot as [right, down, share of the pixel that is covered].
  function disc(radius) {
    const reach = Math.ceil(radius), covered = [];
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const share = Math.min(radius + 0.5 - Math.hypot(dx, dy), 1);
        if (share > 0) covered.push([dx, dy, share]);
      }
    }
    return covered;
  }

  function ring(left, top) {
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.strokeStyle = styleColour("--ink");
    brush.lineWidth = 2.5;
    brush.beginPath();
    brush.arc(left, top, data.radius + 4, 0, 2 * Math.PI);
    brush.stroke();
  }

  // ---- the document that is pointed at

  // The visible document with the smallest `distance(dx, dy, i)` from a point, if it is below
  // `limit`, or −1.
  function nearest(left, top, limit, distance) {
    let best = limit, document = -1;
    for (let i = 0; i < count; i++) {
      const dx = view.x + view.scale * x[i] - left, dy = view.y - view.scale * y[i] - top;
      const away = distance(dx, dy, i);
      if (away < best && visible(i)) [best, document] = [away, i];
    }
    return document;
  }

  function select(i) {
    if (i < 0 || i === selected) return;
    selected = i;
    const facts = [
      [data.origin_label, data.origins[data.origin[i]]],
      ...data.numbers.map((n) => [n.label, n.values[i]?.toLocaleString("en") ?? "–"]),
      ["held out", data.held_out[i] ? "yes" : "no"],
    ];
    const cells = facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
    byId("facts").replaceChildren(...cells);
    byId("excerpt").textContent = data.excerpts[i];
    paint();
  }

  function point(left, top) {
    select(nearest(left, top, NEAR * NEAR, (dx, dy) => dx * dx + dy * dy));
  }

  // From the selected dot (or the middle) to the nearest one within 45° of a direction; being off
  // to the side counts double.
  function step(across, down) {
    select(nearest(...focus(), Infinity, (dx, dy, i) => {
      const ahead = dx * across + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * across);
      return i === selected || ahead <= 0 || aside > ahead ? Infinity : ahead + 2 * aside;
    }));
    if (selected >= 0) reveal(...at(selected));
  }

  function reveal(left, top) {
    const [width, height] = size();
    const into = (place, length) => Math.min(Math.max(place, MARGIN), length - MARGIN) - place;
    move(Math.round(into(left, width)), Math.round(into(top, height)));
  }

  // ---- moving and zooming

  function showAll() {
    const [left, top] = middle();
    view = { scale: fitting(), x: left, y: top };
    showsAll = true;
    paint();
  }

  function move(across, down) {
    if (across === 0 && down === 0) return;
    showsAll = false;
    view = { ...view, x: view.x + across, y: view.y + down };
    paint();
  }

  // What is at (left, top) stays there.
  function zoom(by, left, top) {
    const scaled = Math.min(Math.max(by * view.scale, fitting() / 2), fitting() * CLOSEST);
    const factor = scaled / view.scale;
    showsAll = false;
    view = { scale: scaled, x: left + (view.x - left) * factor, y: top + (view.y - top) * factor };
    paint();
  }

  const actions = {
    in: () => zoom(1.5, ...focus()),
    out: () => zoom(1 / 1.5, ...focus()),
    all: showAll,
  };

  // ---- pointers: one drags, two pinch, none pressed points

  const fingers = new Map();
  let travelled = 0;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    travelled = 0;
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = [event.offsetX, event.offsetY], before = fingers.get(event.pointerId);
    if (!before) return point(...now);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) pinch(before, now, other);
    else if (travelled > CLICK) move(now[0] - before[0], now[1] - before[1]);
    fingers.set(event.pointerId, now);
  });

  function pinch(before, now, other) {
    const apart = (finger) => Math.max(1, Math.hypot(finger[0] - other[0], finger[1] - other[1]));
    move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  canvas.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (travelled <= CLICK) point(event.offsetX, event.offsetY);
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("dblclick", showAll);

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault(); // or the page would scroll too
    const line = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    zoom(Math.exp((-event.deltaY * line) / 400), event.offsetX, event.offsetY);
  }, { passive: false });

  // ---- keys and controls

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const KEYS = { "+": "in", "=": "in", "-": "out", 0: "all" };

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's
    const arrow = ARROWS[event.key], action = actions[KEYS[event.key]];
    if (!arrow && !action) return;
    event.preventDefault();
    if (action) action();
    else if (event.shiftKey) move(...arrow.map((d, axis) => -d * 0.15 * size()[axis]));
    else step(...arrow);
  });

  byId("zoom").addEventListener("click", (event) => actions[event.target.value]?.());
  document.querySelector("fieldset").addEventListener("change", colour);
  dark.addEventListener("change", colour);

  // When the window changes, everything is shown still, or what was in the middle stays there.
  let centre = middle();
  function resize() {
    const [left, top] = centre;
    centre = middle();
    ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = size().map((length) => Math.max(1, Math.round(length * ratio)));
    picture = brush.createImageData(canvas.width, canvas.height);
    dot = disc(data.radius * ratio);
    if (showsAll) showAll();
    else move(centre[0] - left, centre[1] - top);
  }

  resize();
  colour();
  new ResizeObserver(() => {
    resize();
    paintNow(); // at once: a canvas whose size was set is empty
    document.documentElement.dataset.ready = "yes";
  }).observe(canvas);
}

unpack("data").then(start).catch((error) => {
  byId("excerpt").textContent =
    `The map can't be drawn here: ${error.message}. The figures beside it show the same.`;
  throw error;
});
