// The slider of the first page. Everything that a place means is here already, so nothing waits for the server;
// it is told where the slider came to rest, for the address and the other pages.
const SETTLE = 350; // milliseconds at rest before the server is told
const STEP = 70; // milliseconds a place while it plays
const FADE = 180; // milliseconds in which an input dissolves
const NS = "http://www.w3.org/2000/svg";
const PLAY = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5v14l11-7z"/></svg>';
const PAUSE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M6 5h4v14H6zm8 0h4v14h-4z"/></svg>';

const count = (number) => Math.round(number).toLocaleString("en");
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
const points = (difference) => `${difference < -0.0004999 ? "-" : "+"}${Math.abs(100 * difference).toFixed(1)}`;
const change = (now, before) => `${now > before ? "+" : "-"}${Math.abs(100 * (now / before - 1)).toFixed(0)}\u00a0%`;
const size = (bytes) =>
  bytes >= 1e6 ? `${(bytes / 1e6).toPrecision(3)}\u00a0MB` : bytes >= 1e3 ? `${(bytes / 1e3).toPrecision(3)}\u00a0kB` : `${bytes}\u00a0B`;
const element = (name, attributes = {}, text = "") => {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
};
const html = (name, className = "", text = "") => Object.assign(document.createElement(name), { className, textContent: text });

/** A column of the chosen curve at any number of inputs, linear between measured ones; null outside of them. */
function between(curve, keep, name) {
  for (let i = 1; i < curve.length; i++) {
    const [more, less] = [curve[i - 1], curve[i]];
    if (keep <= more.keep && keep >= less.keep) {
      if (more[name] === null || less[name] === null) return null;
      const share = more.keep === less.keep ? 0 : (more.keep - keep) / (more.keep - less.keep);
      return more[name] + share * (less[name] - more[name]);
    }
  }
  return null;
}

class Explorer {
  constructor(root, tell) {
    this.root = root;
    this.tell = tell;
    this.part = (selector) => root.querySelector(selector);
    this.range = this.part("input[type=range]");
    this.unit = this.part("select");
    this.range.oninput = () => this.move(Number(this.range.value));
    this.unit.onchange = () => this.draw();
    this.part(".mark").onclick = () => this.move(this.data.recommended);
    this.part(".play").onclick = () => (this.timer ? this.pause() : this.play());
    this.chart = this.part(".curve svg");
    this.chart.onpointermove = (event) => this.read(this.placeAt(event));
    this.chart.onpointerleave = () => this.read(null);
    this.chart.onclick = (event) => this.move(this.placeAt(event));
    this.resized = new ResizeObserver(() => this.data && this.drawCurve());
    this.resized.observe(this.chart);
    for (const old of this.part(".save").querySelectorAll("button")) old.remove();
    for (const kind of ["PNG", "SVG", "CSV"]) {
      const button = html("button", "", kind);
      button.type = "button";
      button.setAttribute("aria-label", `Save the curve as ${kind}`);
      button.onclick = () => this.save(kind.toLowerCase());
      this.part(".save").append(button);
    }
    this.pause();
  }

  /** New results, or another place that was chosen elsewhere. */
  take(data, tell) {
    this.tell = tell;
    const isOther = this.data?.key !== data.key;
    const text = JSON.stringify(data);
    if (text === this.text) return;
    this.text = text;
    this.data = data;
    this.range.max = data.places.length - 1;
    this.range.setAttribute("aria-label", `Share of the ${data.words.inputs} removed`);
    const units = [["removed", "share removed"], ["keep", `${data.words.inputs} kept`]];
    if (data.places[0].macs !== null) units.push(["macs", "MACs left"]);
    const chosen = this.unit.value || "removed";
    this.unit.replaceChildren(...units.map(([value, label]) => Object.assign(html("option", "", label), { value })));
    this.unit.value = units.some(([value]) => value === chosen) ? chosen : "removed";
    // An answer to an earlier move must not undo a later one: the place is taken where someone else chose it.
    if (isOther || data.asked !== this.asked) this.place = this.sent = data.at;
    this.asked = data.asked;
    this.place = Math.min(this.place, data.places.length - 1);
    this.pictures();
    this.legend();
    this.drawCurve();
    this.draw();
  }

  move(place, isPlaying = false) {
    if (!isPlaying) this.pause();
    if (place === null || place === undefined || place === this.place) return;
    this.place = place;
    this.draw();
    if (isPlaying) return;
    this.rest();
  }

  rest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      if (this.sent === this.place) return;
      this.sent = this.place;
      this.tell(this.data.places[this.place].removed);
    }, SETTLE);
  }

  play() {
    const last = this.data.places.length - 1;
    if (this.place >= last) this.move(0, true);
    this.part(".play").innerHTML = PAUSE;
    this.part(".play").setAttribute("aria-label", "Pause");
    this.timer = setInterval(() => {
      if (this.place >= last) return this.pause();
      this.move(this.place + 1, true);
    }, Math.max(STEP, 6000 / Math.max(last, 1) / 1.2));
  }

  pause() {
    const wasPlaying = Boolean(this.timer);
    clearInterval(this.timer);
    this.timer = null;
    this.part(".play").innerHTML = PLAY;
    const inputs = this.data?.words.inputs ?? "inputs";
    this.part(".play").setAttribute("aria-label", `Play: let the ${inputs} go one after another`);
    if (wasPlaying) this.rest();
  }

  /** What the slider's place means, in words. */
  said(place) {
    const at = this.data.places[place];
    if (this.unit.value === "keep") return `${count(at.keep)} of ${count(this.data.n)} ${this.data.words.inputs} kept`;
    if (this.unit.value === "macs") return `${count(at.macs)} MACs left (${percent(at.macs / this.data.places[0].macs, 0)})`;
    return `${at.removed}\u00a0% of the ${this.data.words.inputs} removed`;
  }

  draw() {
    const { data, place } = this;
    const at = data.places[place];
    this.range.value = place;
    this.part(".said").textContent = this.said(place);
    const mark = this.part(".mark");
    mark.hidden = data.recommended === null;
    if (!mark.hidden) {
      const share = data.recommended / Math.max(data.places.length - 1, 1);
      // Its triangle stands below the place, its text where there is room.
      const isRight = share > 0.5;
      mark.className = isRight ? "mark right" : "mark";
      mark.style.left = isRight ? "auto" : `calc((100% - 1rem) * ${share} - 0.2rem)`;
      mark.style.right = isRight ? `calc((100% - 1rem) * ${1 - share} - 0.2rem)` : "auto";
      mark.textContent = place === data.recommended ? "recommended: here" : "recommended";
    }
    this.tiles(at);
    this.fade(at.keep);
    this.marker();
    const score = between(data.chosen, at.keep, "score");
    this.range.setAttribute(
      "aria-valuetext",
      `${this.said(place)}` + (score === null ? "" : `, ${data.words.score} ${percent(score)}`),
    );
  }

  tiles(at) {
    const { data } = this;
    const full = data.places[0];
    const [score, low, high] = ["score", "low", "high"].map((name) => between(data.chosen, at.keep, name));
    const base = data.chosen.length ? data.chosen[0].score : null;
    const isMeasured = data.chosen.some((row) => row.keep === at.keep);
    const tiles = [[
      `${data.words.inputs} kept`, count(at.keep), `of ${count(data.n)}, ${percent(1 - at.keep / data.n, 0)} removed`,
    ]];
    if (score === null) tiles.push([`${data.words.score} (validation)`, "\u2013", "not measured this far"]);
    else {
      const lost = score - base;
      const range = low === null ? "one seed, no interval" : `between ${percent(low)} and ${percent(Math.min(high, 1))}`;
      tiles.push([
        `${data.words.score} (validation)`, percent(score),
        at.keep === data.n ? "the full network" : `${points(lost)} points; full network ${percent(base)}`,
        at.keep === data.n ? "" : lost >= -data.margin ? "inside" : "outside", `${range}${isMeasured ? "" : ", interpolated"}`,
      ]);
    }
    for (const [name, label, shown] of [["macs", `MACs for one ${data.words.image}`, count], ["bytes", "weights", size]]) {
      if (at[name] === null) tiles.push([label, "\u2013", "not measured this far"]);
      else {
        const saved = at[name] === full[name] ? "the full network" : `${change(at[name], full[name])}; full network ${shown(full[name])}`;
        tiles.push([label, (data.exact ? "" : isMeasured ? "" : "about ") + shown(at[name]), saved]);
      }
    }
    if (full.input_cost !== undefined && full.input_cost !== null) {
      const price = (number) => number.toLocaleString("en", { maximumSignificantDigits: 6 });
      const known = at.input_cost !== null;
      const note = at.keep === data.n ? "the full network" : `${known ? `${change(at.input_cost, full.input_cost)}; ` : ""}all of them ${price(full.input_cost)}`;
      tiles.push(["cost of inputs", known ? price(at.input_cost) : "\u2013", known ? note : `not measured here; ${note}`]);
    }
    const made = tiles.map(([label, value, note, state, more]) => {
      const tile = html("div", "tile");
      tile.append(html("span", "", label[0].toUpperCase() + label.slice(1)), html("b", "", value), html("small", "", note));
      if (state) {
        const text = state === "inside" ? "within your margin" : "more than your margin is lost";
        tile.append(html("small", state, text));
        tile.title = more;
      }
      return tile;
    });
    this.part(".tiles").replaceChildren(...made);
  }

  /** Prepare what the small network sees: canvases for images and series, names for the rest. */
  pictures() {
    const { data } = this;
    const box = this.part(".pictures");
    box.className = `pictures ${data.drawn}`;
    const captions = {
      picture: `What the small network sees, and the ${data.words.inputs} it reads`,
      series: `What the small network sees of three ${data.words.images}`,
      names: `What the small network reads, the most important first`,
    };
    this.part(".seen figcaption").textContent = data.order.length ? captions[data.drawn] : "";
    const seen = JSON.stringify([data.key, data.drawn, data.shape]);
    if (this.seen !== seen) {
      this.seen = seen;
      box.replaceChildren();
      this.shown = null;
    }
    this.samples = data.samples.map((text) => Float32Array.from(atob(text), (c) => c.charCodeAt(0) / 255));
    this.part(".seen .note")?.remove();
    if (!data.order.length) {
      box.replaceChildren(html("p", "note", data.waiting));
      this.canvases = [];
      return;
    }
    if (data.drawn === "names") {
      const order = data.order.map((place, i) => [place, i]).sort((a, b) => a[0] - b[0]).slice(0, 60);
      this.chips = order.map(([place, i]) => {
        const chip = html("span", "name", data.names[i] ?? `${i}`);
        chip.dataset.place = place;
        chip.title = chip.textContent;
        return chip;
      });
      box.replaceChildren(...this.chips);
      if (data.order.length > 60) this.part(".seen").append(html("p", "note", `and ${count(data.order.length - 60)} more`));
      this.canvases = [];
      return;
    }
    const isPicture = data.drawn === "picture";
    const needed = this.samples.length + (isPicture ? 1 : 0); // the last one is the mask
    if (box.children.length !== needed) {
      box.replaceChildren(...Array.from({ length: needed }, () => {
        const canvas = document.createElement("canvas");
        canvas.setAttribute("role", "img");
        return canvas;
      }));
    }
    this.canvases = [...box.children];
    this.canvases.forEach((canvas, i) => {
      const [height, width] = data.shape;
      canvas.width = isPicture ? width : Math.max(width, 320);
      canvas.height = isPicture ? height : 70;
      const sample = `${data.words.image} ${data.sampleNames[i] ?? i + 1} as the small network sees it`;
      const mask = `the ${data.words.inputs} that the small network reads, those that go last are the darkest`;
      canvas.setAttribute("aria-label", i < this.samples.length ? sample : mask);
    });
    if (data.note) this.part(".seen").append(html("p", "note", data.note));
    if (!this.shown || this.shown.length !== data.order.length) this.shown = new Float32Array(data.order.length).fill(1);
  }

  /** Let inputs dissolve, or come back, until only those of this place are seen. */
  fade(keep) {
    const { data } = this;
    for (const chip of this.chips ?? []) chip.classList.toggle("gone", Number(chip.dataset.place) >= keep);
    if (!this.canvases?.length) return;
    cancelAnimationFrame(this.frame);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let before = performance.now();
    const step = (now) => {
      const by = still ? 1 : (now - before) / FADE;
      before = now;
      let isMoving = false;
      for (let i = 0; i < data.order.length; i++) {
        const to = data.order[i] < keep ? 1 : 0;
        const left = to - this.shown[i];
        if (!left) continue;
        this.shown[i] = Math.abs(left) <= by ? to : this.shown[i] + Math.sign(left) * by;
        isMoving ||= this.shown[i] !== to;
      }
      this.paint();
      if (isMoving) this.frame = requestAnimationFrame(step);
    };
    step(before + (still ? 0 : 16));
  }

  paint() {
    const { data } = this;
    const style = getComputedStyle(this.root.querySelector(".explorer"));
    const rgb = (color) => color.match(/[\d.]+/g).slice(0, 3).map(Number);
    const probe = html("i");
    this.part(".seen").append(probe);
    const resolve = (color) => ((probe.style.color = color), rgb(getComputedStyle(probe).color));
    const ink = resolve("var(--ink)");
    const accent = resolve("var(--accent)");
    probe.remove();
    this.canvases.forEach((canvas, number) => {
      const pen = canvas.getContext("2d");
      if (data.drawn === "series") return this.paintSeries(canvas, pen, this.samples[number], ink, accent, style);
      const values = this.samples[number];
      const image = pen.createImageData(canvas.width, canvas.height);
      if (!values) return this.paintMask(pen, image, accent);
      for (let i = 0; i < values.length; i++) {
        const seen = this.shown[i];
        // A pixel that is read: ink over a tint of the accent. One that is not: nothing but a trace of the ground.
        const mix = 0.2 + 0.8 * values[i];
        for (let c = 0; c < 3; c++) image.data[4 * i + c] = ink[c] * values[i] + accent[c] * (1 - values[i]);
        image.data[4 * i + 3] = 255 * (seen * mix + (1 - seen) * 0.03);
      }
      pen.putImageData(image, 0, 0);
    });
  }

  /** The inputs that are read, those that go last the strongest. */
  paintMask(pen, image, accent) {
    const { n, order } = this.data;
    for (let i = 0; i < order.length; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = accent[c];
      const strength = 0.15 + 0.85 * (1 - order[i] / n) ** 2;
      image.data[4 * i + 3] = 255 * (this.shown[i] * strength + (1 - this.shown[i]) * 0.03);
    }
    pen.putImageData(image, 0, 0);
  }

  paintSeries(canvas, pen, values, ink, accent) {
    const [channels, length] = this.data.shape;
    const { width, height } = canvas;
    pen.clearRect(0, 0, width, height);
    const x = (i) => (width * (i + 0.5)) / length;
    for (let channel = 0; channel < channels; channel++) {
      for (let i = 0; i < length; i++) {
        const at = channel * length + i;
        const seen = this.shown[at];
        if (seen && channels <= 4) {
          pen.fillStyle = `rgba(${accent}, ${(0.22 * seen) / channels})`;
          pen.fillRect((width * i) / length, 0, width / length + 0.5, height);
        }
        if (!i) continue;
        const y = (k) => height - 4 - (height - 8) * values[channel * length + k];
        pen.strokeStyle = `rgba(${ink}, ${0.15 + 0.85 * Math.min(seen, this.shown[at - 1])})`;
        pen.lineWidth = 1.5;
        pen.beginPath();
        pen.moveTo(x(i - 1), y(i - 1));
        pen.lineTo(x(i), y(i));
        pen.stroke();
      }
    }
  }

  legend() {
    const { data } = this;
    this.part(".curve figcaption").textContent = data.curves.length ? data.title : "";
    const entries = data.curves.map((curve) => {
      const item = html("li");
      const line = element("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
      line.append(element("path", {
        d: "M0 5H26", stroke: curve.color, "stroke-width": curve.chosen ? 3 : 2, "stroke-dasharray": curve.dash,
      }));
      item.append(line, html("span", "", curve.label));
      return item;
    });
    this.part(".legend").replaceChildren(...entries);
    this.part(".save").hidden = !data.curves.length;
    this.part(".save").style.display = data.curves.length ? "" : "none";
  }

  drawCurve() {
    const { data, chart } = this;
    chart.replaceChildren();
    const box = chart.getBoundingClientRect();
    if (!data.curves.length || box.width < 40) return;
    const [width, height] = [box.width, box.height];
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.setAttribute("aria-label", data.alt);
    const edge = { left: 46, right: 8, top: 8, bottom: 34 };
    const rows = data.curves.flatMap((curve) => curve.rows);
    const own = data.chosen.length ? data.chosen : rows;
    const top = Math.max(...rows.map((row) => row.score));
    const floor = Math.min(...own.map((row) => row.score));
    // Controls may fall far below: the axis stays with what the chosen curve needs, and some of the others.
    const lowest = Math.max(Math.min(...rows.map((row) => row.score)), top - Math.max(5 * (top - floor), 0.02));
    const room = 0.06 * (top - lowest) + 0.002;
    const [low, high] = [lowest - room, Math.min(top + room, data.words.score === "accuracy" ? Math.max(1, top) : 2)];
    const x = (removed) => edge.left + (width - edge.left - edge.right) * removed;
    const y = (score) => edge.top + (height - edge.top - edge.bottom) * (1 - (score - low) / (high - low));
    this.scale = { x, y, edge, width, height, low };
    const text = (attributes, value) => chart.append(element("text", { fill: "var(--quiet)", "font-size": 12, ...attributes }, value));
    const span = 100 * (high - low);
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((s) => span / s <= 5) ?? 100;
    for (let tick = Math.ceil((100 * low) / step) * step; tick <= 100 * high + 1e-9; tick += step) {
      const at = y(tick / 100);
      chart.append(element("line", { x1: edge.left, x2: width - edge.right, y1: at, y2: at, stroke: "var(--line)" }));
      text({ x: edge.left - 6, y: at + 4, "text-anchor": "end" }, step < 1 ? tick.toFixed(1) : `${Math.round(tick)}`);
    }
    const ticks = width < 420 ? [0, 25, 50, 75, 100] : [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
    for (const tick of ticks) text({ x: x(tick / 100), y: height - edge.bottom + 16, "text-anchor": "middle" }, `${tick}`);
    text({ x: (edge.left + width) / 2, y: height - 2, "text-anchor": "middle" }, data.axes.x);
    text({ x: -(edge.top + (height - edge.bottom) / 2), y: 11, "text-anchor": "middle", transform: "rotate(-90)" }, data.axes.y);
    const clip = element("clipPath", { id: "inside" });
    clip.append(element("rect", { x: edge.left, y: 0, width: width - edge.left, height: height - edge.bottom }));
    const layer = element("g", { "clip-path": "url(#inside)" });
    chart.append(clip, layer);
    for (const curve of [...data.curves].sort((a, b) => a.chosen - b.chosen)) {
      const banded = curve.rows.filter((row) => row.low !== null);
      if (banded.length > 1) {
        const up = banded.map((row) => `${x(row.removed)},${y(row.high)}`);
        const down = [...banded].reverse().map((row) => `${x(row.removed)},${y(row.low)}`);
        layer.append(element("polygon", { points: [...up, ...down].join(" "), fill: curve.color, opacity: curve.chosen ? 0.22 : 0.1 }));
      }
      layer.append(element("polyline", {
        points: curve.rows.map((row) => `${x(row.removed)},${y(row.score)}`).join(" "), fill: "none", stroke: curve.color,
        "stroke-width": curve.chosen ? 3 : 2, "stroke-dasharray": curve.dash, "stroke-linejoin": "round",
      }));
      for (const row of curve.rows) layer.append(element("circle", { cx: x(row.removed), cy: y(row.score), r: curve.chosen ? 3.5 : 2.5, fill: curve.color }));
    }
    if (data.limit !== null) {
      layer.append(element("line", {
        x1: edge.left, x2: width - edge.right, y1: y(data.limit), y2: y(data.limit), stroke: "var(--quiet)", "stroke-dasharray": "2 4",
      }));
      text({ x: edge.left + 6, y: y(data.limit) + 14 }, data.limitText);
    }
    if (data.recommended !== null) {
      const at = data.places[data.recommended];
      const score = between(data.chosen, at.keep, "score");
      if (score !== null) layer.append(element("circle", { cx: x(1 - at.keep / data.n), cy: y(score), r: 8, fill: "none", stroke: "var(--accent)", "stroke-width": 2.5 }));
    }
    this.line = element("line", { y1: edge.top, y2: height - edge.bottom, stroke: "var(--ink)", "stroke-width": 1.5 });
    this.dot = element("circle", { r: 5, fill: "var(--ink)" });
    layer.append(this.line, this.dot);
    this.marker();
  }

  marker() {
    if (!this.line || !this.scale) return;
    const { data, scale } = this;
    const at = data.places[this.place];
    const removed = 1 - at.keep / data.n;
    this.line.setAttribute("x1", scale.x(removed));
    this.line.setAttribute("x2", scale.x(removed));
    const score = between(data.chosen, at.keep, "score");
    this.dot.setAttribute("visibility", score === null ? "hidden" : "visible");
    this.dot.setAttribute("cx", scale.x(removed));
    this.dot.setAttribute("cy", scale.y(score ?? scale.low));
    this.read(null);
  }

  placeAt(event) {
    if (!this.scale) return null;
    const { edge, width } = this.scale;
    const box = this.chart.getBoundingClientRect();
    const removed = (event.clientX - box.left - edge.left) / (width - edge.left - edge.right);
    const keep = this.data.n * (1 - removed);
    const away = this.data.places.map((place) => Math.abs(place.keep - keep));
    return away.indexOf(Math.min(...away));
  }

  /** What the curves say where the pointer is, in a line below the figure, so that nothing is covered. */
  read(place) {
    const { data } = this;
    const at = data.places[place ?? this.place];
    const said = data.curves.map((curve) => {
      const score = between(curve.rows, at.keep, "score");
      return score === null ? null : `${curve.label} ${percent(score)}`;
    });
    this.part(".reading").textContent = `${percent(1 - at.keep / data.n, 0)} removed: ${said.filter(Boolean).join(", ")}`;
  }

  save(kind) {
    const { data, chart } = this;
    const hand = (blob) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${data.file}.${kind}` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    };
    if (kind === "csv") {
      const lines = data.curves.flatMap((curve) => curve.rows.map((row) =>
        [`"${curve.label.replaceAll('"', '""')}"`, row.keep, row.removed, row.score, row.low ?? "", row.high ?? ""].join(",")));
      return hand(new Blob([["method,kept,removed,score,low,high", ...lines].join("\n") + "\n"], { type: "text/csv" }));
    }
    const { width, height } = this.scale;
    const copy = chart.cloneNode(true);
    copy.setAttribute("xmlns", NS);
    const legend = data.curves.length * 16 + 8;
    copy.setAttribute("width", width);
    copy.setAttribute("height", height + legend);
    copy.setAttribute("viewBox", `0 0 ${width} ${height + legend}`);
    copy.prepend(element("rect", { width, height: height + legend, fill: "#ffffff" }));
    data.curves.forEach((curve, i) => {
      const at = height + 16 * i + 14;
      copy.append(element("line", { x1: 46, x2: 72, y1: at - 4, y2: at - 4, stroke: curve.color, "stroke-width": 2, "stroke-dasharray": curve.dash }));
      copy.append(element("text", { x: 80, y: at, "font-size": 12, fill: "#16212b" }, curve.label));
    });
    const plain = { "var(--quiet)": "#44505a", "var(--line)": "#dbe2e6", "var(--ink)": "#16212b", "var(--accent)": "#0f766e" };
    let text = new XMLSerializer().serializeToString(copy);
    for (const [name, color] of Object.entries(plain)) text = text.replaceAll(name, color);
    text = text.replace("<svg ", '<svg font-family="sans-serif" ');
    const blob = new Blob([text], { type: "image/svg+xml" });
    if (kind === "svg") return hand(blob);
    const image = new Image();
    image.onload = () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 2 * width, height: 2 * (height + legend) });
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob(hand, "image/png");
      URL.revokeObjectURL(image.src);
    };
    image.src = URL.createObjectURL(blob);
  }

  gone() {
    clearInterval(this.timer);
    clearTimeout(this.resting);
    cancelAnimationFrame(this.frame);
    this.resized.disconnect();
  }
}

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement;
  const tell = (removed) => setStateValue("place", { removed, at: Date.now() });
  root.explorer ??= new Explorer(root, tell);
  root.explorer.take(data, tell);
  return () => {
    root.explorer?.gone();
    root.explorer = null;
  };
}
