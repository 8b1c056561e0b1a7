const GROUND = [27, 62, 73], OUT = [8, 12, 15], RED = [255, 86, 120], BLUE = [84, 148, 255];
const EVERY = 125, PATIENCE = 2500;  // milliseconds between two drawings sent, and until an answer counts as lost
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const make = (name, given = {}, ...children) => {
  const element = Object.assign(document.createElement(name), given);
  element.append(...children);
  return element;
};
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

function paint(canvas, shape, colour, isOut) {
  const [height, width] = shape, scale = Math.max(1, Math.round(224 / Math.max(height, width)));
  canvas.width = width * scale;
  canvas.height = height * scale;
  const to = canvas.getContext("2d");
  const small = new OffscreenCanvas(width, height), at = small.getContext("2d");
  const image = at.createImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set([...colour(i), 255], 4 * i);
  at.putImageData(image, 0, 0);
  to.imageSmoothingEnabled = false;
  to.drawImage(small, 0, 0, canvas.width, canvas.height);
  if (!isOut) return;
  // Hatched as well as dark: what is not read shows without any sense of colour.
  to.save();
  to.beginPath();
  for (let i = 0; i < width * height; i++)
    if (isOut(i)) to.rect((i % width) * scale, Math.floor(i / width) * scale, scale, scale);
  to.clip();
  to.beginPath();
  for (let x = -canvas.height; x < canvas.width; x += 10) {
    to.moveTo(x, canvas.height);
    to.lineTo(x + canvas.height, 0);
  }
  to.lineWidth = 2;
  to.strokeStyle = "rgba(140, 160, 172, 0.3)";
  to.stroke();
  to.restore();
}

const mix = (from, to, share) => from.map((value, i) => Math.round(value + (to[i] - value) * share));
const ofPixel = (data, i) => {
  const channels = data.shape[2];
  return channels === 3 ? [0, 1, 2].map((c) => data.pixels[3 * i + c]) : null;
};
function seen(data, network) {
  return (i) => {
    const lit = network ? network.kept[i] / 255 : 1, colour = ofPixel(data, i);
    const read = colour ?? mix(GROUND, [236, 254, 250], data.pixels[i] / 255);
    const unread = colour ? mix(OUT, colour, 0.22) : mix(OUT, [110, 124, 134], data.pixels[i] / 255);
    return mix(unread, read, lit);
  };
}
const signed = (network) => (i) => {
  const value = network.relevance[i] / 127, ground = network.kept[i] ? GROUND : OUT;
  return mix(ground, value < 0 ? BLUE : RED, Math.abs(value));
};

function curve(canvas, data, network, hasRelevance) {
  const n = data.values.length, length = data.length, wide = Math.max(320, Math.min(n * 3, 900)), high = 130;
  canvas.width = wide;
  canvas.height = high;
  const to = canvas.getContext("2d"), low = Math.min(...data.values), span = Math.max(...data.values) - low || 1;
  const x = (i) => ((i + 0.5) * wide) / n, y = (i) => high - 8 - ((data.values[i] - low) / span) * (high - 16);
  to.fillStyle = `rgb(${OUT})`;
  to.fillRect(0, 0, wide, high);
  to.fillStyle = "#17414c";
  for (let i = 0; i < n; i++) if (network.kept[i]) to.fillRect((i * wide) / n, 0, wide / n + 0.5, high);
  to.lineWidth = 2;
  for (let i = 0; i < n; i++) {
    const value = hasRelevance ? network.relevance[i] / 127 : 0;
    const colour = hasRelevance
      ? mix([120, 134, 144], value < 0 ? BLUE : RED, Math.min(1, Math.abs(value) * 1.4))
      : network.kept[i] ? [236, 254, 250] : [110, 124, 134];
    to.strokeStyle = to.fillStyle = `rgb(${colour})`;
    if (i % length) {
      to.beginPath();
      to.moveTo(x(i - 1), y(i - 1));
      to.lineTo(x(i), y(i));
      to.stroke();
    }
    if (hasRelevance) to.fillRect(x(i) - 1.5, y(i) - 1.5, 3, 3);
  }
}

function bars(data, network) {
  const isUpright = data.classes.length <= 10 && data.classes.every((name) => name.length < 3);
  const box = make("div", { className: `bars ${isUpright ? "upright" : "flat"}`, role: "img" });
  box.ariaLabel = "Probability of each class: " + data.order
    .map((i) => `${data.classes[i]} ${percent(network.probabilities[i])}`).join(", ");
  for (const i of isUpright ? data.classes.keys() : data.order) {
    const share = network.probabilities[i], fill = make("div", { className: "fill" });
    fill.style[isUpright ? "height" : "width"] = isUpright ? `${56 * share}px` : `${100 * share}%`;
    const name = make("span", { className: "name", textContent: data.classes[i], title: data.classes[i] });
    const kind = `bar${i === network.says ? " first" : ""}${i === data.label ? " true" : ""}`;
    const bar = make("div", { className: kind, title: `${data.classes[i]}: ${percent(share)}` });
    bar.append(...(isUpright ? [fill, name] : [name, fill, make("span", { textContent: percent(share) })]));
    box.append(bar);
  }
  return box;
}

function answer(section, data, network) {
  const head = make("p", { className: "head" }, make("b", { textContent: network.title }), ` \u00b7 ${network.reads}`);
  if (network.answer === null) {
    section.replaceChildren(head, make("p", { className: "says small", textContent: data.waiting }));
    return;
  }
  const long = network.answer.length > 3 ? "class long" : "class";
  const says = make("p", { className: "says" }, make("span", { className: long, textContent: network.answer }));
  if (network.sure) says.append(make("span", { className: "sure", textContent: network.sure }));
  if (network.verdict) says.append(make("span", { className: "verdict", textContent: network.verdict }));
  section.replaceChildren(head, says);
  if (data.kind !== "bars") {
    const isCurve = data.kind === "series", tiles = make("div", { className: isCurve ? "tiles wide" : "tiles" });
    const titles = ["what it sees", `relevance for ${data.explained ?? network.answer}`];
    for (const [place, title] of titles.entries()) {
      if (place && !network.relevance) continue;
      const canvas = make("canvas", { className: "tile", role: "img" });
      canvas.ariaLabel = place ? `${network.title}: red speaks for ${network.answer}, blue against it`
        : `${network.title}: ${network.reads}, those lit`;
      if (isCurve) curve(canvas, data, network, place === 1);
      else paint(canvas, data.shape, place ? signed(network) : seen(data, network), (i) => !network.kept[i]);
      tiles.append(make("figure", {}, canvas, make("figcaption", { textContent: title })));
    }
    section.append(tiles);
  }
  if (data.classes.length) section.append(bars(data, network));
  for (const note of network.notes) section.append(make("p", { className: "small", textContent: note }));
}

function inputs(box, data) {
  box.hidden = !data.inputs.length;
  const head = make("tr");
  for (const name of [data.counted, "value", "relevance, full network", "relevance, small network"])
    head.append(make("th", { textContent: name, scope: "col" }));
  const body = make("tbody");
  for (const row of data.inputs) {
    const line = make("tr", { className: row.kept ? "" : "out" });
    line.append(make("td", { className: "name", textContent: row.name }),
      make("td", { className: "number", textContent: row.value }));
    for (const [place, value] of row.relevance.entries()) {
      const cell = make("td");
      if (place && !row.kept) cell.textContent = "not read";
      else if (value !== null) {
        const bar = make("i");
        bar.style.background = value < 0 ? "var(--blue)" : "var(--red)";
        bar.style[value < 0 ? "right" : "left"] = "50%";
        bar.style.width = `${50 * Math.abs(value)}%`;
        const direction = value < 0 ? "against" : "for";
        const chart = make("span", { className: "signed", role: "img" }, bar);
        chart.ariaLabel = `${Math.round(100 * Math.abs(value))} % of the largest, ${direction} the answer`;
        cell.append(chart);
      }
      line.append(cell);
    }
    body.append(line);
  }
  box.replaceChildren(make("table", {}, make("thead", {}, head), body));
}

function legend(box, data) {
  const key = (colour, text) => {
    const mark = make("span", { className: colour ? "key" : "key hatched" });
    if (colour) mark.style.background = colour;
    return [mark, text];
  };
  box.replaceChildren(...key(`rgb(${RED})`, data.speaks[0]), ...key(`rgb(${BLUE})`, data.speaks[1]),
    ...(data.kind === "bars" ? [] : key(null, `${data.counted} not read`)),
    ...(data.label === null || !data.classes.length ? [] : [" \u00b7 underlined: the true class"]));
}

export default function ({ parentElement, data: given, setStateValue }) {
  const root = parentElement.querySelector(".desk"), board = root.querySelector(".board");
  const data = { ...given, pixels: given.pixels && bytes(given.pixels) };
  data.networks = given.networks.map((network) => ({
    ...network, kept: bytes(network.kept), relevance: network.relevance && new Int8Array(bytes(network.relevance).buffer),
  }));
  const canvas = pen(board, (isDone) => {
    canvas.isDrawing = !isDone;
    canvas.isNew = true;
    offer();
  });
  canvas.sent ??= data.answered;
  canvas.answered = data.answered;
  canvas.send = setStateValue;
  const offer = () => {
    clearTimeout(canvas.later);
    if (!canvas.isNew) return;
    const since = performance.now() - (canvas.last ?? -1e9);
    const wait = Math.max(EVERY - since, canvas.answered < canvas.sent ? PATIENCE - since : 0);
    if (wait > 0) {
      canvas.later = setTimeout(offer, wait);
      return;
    }
    canvas.isNew = false;
    canvas.last = performance.now();
    canvas.sent += 1;
    canvas.send("drawn", { png: canvas.hasInk ? canvas.toDataURL("image/png") : null, n: canvas.sent });
  };
  if (!canvas.isRestored && data.sheet) {
    canvas.isRestored = true;
    if (data.sheet.png) canvas.shown(data.sheet.png, data.sheet.isReady);
  }
  board.hidden = !data.sheet;
  const picture = root.querySelector(".picture");
  picture.hidden = Boolean(data.sheet) || data.kind !== "picture" || !data.pixels;
  if (!picture.hidden) {
    paint(picture, data.shape, seen(data, null));
    picture.ariaLabel = data.title;
  }
  const source = root.querySelector(".source");
  source.querySelector("b").textContent = data.title;
  source.querySelector(".hint").textContent = data.hint;
  for (const [place, section] of root.querySelectorAll(".answer").entries()) answer(section, data, data.networks[place]);
  inputs(root.querySelector(".inputs"), data);
  legend(root.querySelector(".legend"), data);
  const live = root.querySelector("[aria-live]");
  if (!canvas.isDrawing && live.textContent !== data.said) live.textContent = data.said;  // not at every move
  root.dataset.answered = data.answered;
  if (root.dataset.opened !== undefined && root.dataset.opened !== String(data.opened))
    root.scrollIntoView({ block: "start" });
  root.dataset.opened = data.opened;
  offer();
}
