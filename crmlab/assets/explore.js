// Heatmaps over a page: one script for JupyterLab, where the kernel answers each choice (anywidget calls `render`),
// and for saved pages, which carry some answers themselves (`showSaved`). Names in the data were typed by strangers:
// they become text by textContent, setAttribute and fillText, never HTML. Nothing is fetched.

// ---- small tools

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// "{n} clicks" with its braces filled
const say = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);

const buffer = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const floats = (text) => new Float32Array(buffer(text));
const integers = (text) => new Int32Array(buffer(text));

// what the kernel packed, cell by cell. A cell that was not sent has its row's quiet numbers; where cells share their
// numbers, `which` says whose they are
function unpack(sent, columns, names) {
  if (!sent?.at) return { at: [], of: () => null };
  const at = Array.from(integers(sent.at)), which = sent.which && integers(sent.which);
  const place = new Map(at.map((cell, i) => [cell, which ? which[i] : i]));
  const own = Object.fromEntries(names.map((name) => [name, floats(sent[name])]));
  const quiet = sent.quiet && Object.fromEntries(names.map((name) => [name, floats(sent.quiet[name])]));
  const pick = (from, i) => Object.fromEntries(names.map((name) => [name, from[name][i]]));
  const of = (cell) => {
    if (place.has(cell)) return pick(own, place.get(cell));
    return quiet ? pick(quiet, Math.floor(cell / columns)) : null;
  };
  return { at, of };
}

const MAP = ["n", "visits", "exposed", "value", "lo", "hi"];
const DIFFERENCE = ["est", "lo", "hi", "flagged"];

// ---- what is drawn: a panel is {title, cells, colour, strength, worth(cell), note}

const colourAt = (colours, share) => colours[Math.round(Math.min(Math.max(share, 0), 1) * (colours.length - 1))];

// the interval is missing, or its ends lie `wide` times apart
const unsure = (cell, wide) => !(cell.hi < wide * cell.lo);

function mapPanels(sheet, answer, look, labels) {
  const shown = [...new Set([answer.a, answer.b])].map((segment) => {
    const sent = answer.maps[segment] ?? { visits: 0 };
    return { segment, sent, cells: unpack(sent.cells, sheet.columns, MAP) };
  });
  const sure = shown.flatMap(({ cells }) => cells.at.map(cells.of).filter((c) => c.n > 0 && c.lo >= 0));
  const top = Math.max(...sure.map((c) => c.value), 0) || 1;
  const panels = shown.map(({ segment, sent, cells }) => {
    const key = sent.visits === 0 ? "panel_none" : sent.few ? "panel_few" : "panel";
    return {
      title: say(look.words[key], { segment: labels[segment], visits: sent.visits.toLocaleString(look.lang) }),
      cells,
      paint: (c) => c.n > 0 && { fill: c.lo >= 0 ? colourAt(look.sequential, c.value / top) : "#8a8a8a", hatched: unsure(c, look.wide) },
      unseen: (c) => c.exposed === 0,
      strength: (c) => (c.n > 0 && c.lo > 0 ? c.lo : 0),
    };
  });
  return { panels, legend: { colours: look.sequential, text: look.words[`colour_${sheet.kind}`], ends: [0, top], unit: sheet.unit } };
}

function differencePanel(sheet, answer, look, labels) {
  const cells = unpack(answer.difference, sheet.columns, DIFFERENCE);
  const distance = (c) => Math.abs(Math.log2(c.est));
  const flagged = cells.at.map(cells.of).filter((c) => c.flagged > 0);
  const top = Math.min(Math.max(...flagged.map(distance), 1), 4);   // from 2 to 16 times
  const pair = { a: labels[answer.a], b: labels[answer.b] };
  const panel = {
    title: say(look.words.panel_difference, pair),
    cells,
    paint: (c) => ({ fill: colourAt(look.diverging, 0.5 + Math.log2(c.est) / top / 2), hatched: !c.flagged, framed: c.flagged > 0, faint: !c.flagged }),
    unseen: () => false,
    places: answer.difference.regions,
  };
  const text = say(look.words.colour_difference, pair);
  return { panels: [panel], legend: { colours: look.diverging, text, ends: [2 ** -top, 2 ** top], unit: "times", compared: true } };
}

function hatching(context, step) {
  const tile = make("canvas", { width: step, height: step });
  const pen = tile.getContext("2d");
  pen.strokeStyle = "rgba(20, 20, 20, .6)";
  pen.lineWidth = Math.max(step / 6, 1);
  for (const shift of [-step, 0, step]) {
    pen.moveTo(shift, step);
    pen.lineTo(shift + step, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

function drawOutlines(pen, sheet, width, scale) {
  pen.strokeStyle = "#6b7680";
  pen.fillStyle = "#4a555f";
  pen.lineWidth = 1;
  pen.font = "11px sans-serif";
  for (const [name, x0, y0, x1, y1] of sheet.boxes) {
    const [left, top, w, h] = [x0 * width, y0 * scale, (x1 - x0) * width, (y1 - y0) * scale];
    pen.strokeRect(left + 0.5, top + 0.5, w, h);
    pen.save();
    pen.beginPath();
    pen.rect(left, top, w, h);
    pen.clip();
    pen.fillText(name, left + 3, top + 12);
    pen.restore();
  }
}

function drawFold(pen, sheet, width, scale, words) {
  if (!(sheet.fold < sheet.rows * sheet.height)) return;
  const y = Math.round(sheet.fold * scale) + 0.5;
  pen.setLineDash([5, 4]);
  pen.strokeStyle = "#1d2730";
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(0, y);
  pen.lineTo(width, y);
  pen.stroke();
  pen.setLineDash([]);
  pen.font = "11px sans-serif";
  const wide = Math.min(pen.measureText(words.fold).width + 6, width);
  pen.fillStyle = "rgba(255, 255, 255, .8)";
  pen.fillRect(width - wide, y - 16, wide, 15);
  pen.fillStyle = "#1d2730";
  pen.fillText(words.fold, width - wide + 3, y - 5, wide - 6);
}

// a line where a framed cell meets one that is not
function drawFrames(pen, framed, columns, w, h) {
  pen.strokeStyle = "#000";
  pen.lineWidth = 2;
  pen.beginPath();
  for (const cell of framed) {
    const column = cell % columns, left = column * w, top = Math.floor(cell / columns) * h;
    const line = (x0, y0, x1, y1) => { pen.moveTo(x0, y0); pen.lineTo(x1, y1); };
    if (!framed.has(cell - columns)) line(left, top, left + w, top);
    if (!framed.has(cell + columns)) line(left, top + h, left + w, top + h);
    if (column === 0 || !framed.has(cell - 1)) line(left, top, left, top + h);
    if (column === columns - 1 || !framed.has(cell + 1)) line(left + w, top, left + w, top + h);
  }
  pen.stroke();
}

function drawPanel(canvas, panel, sheet, look, width) {
  const scale = width / sheet.page_w, bottom = sheet.rows * sheet.height * scale;
  const [w, h] = [width / sheet.columns, sheet.height * scale];
  const dense = Math.min(window.devicePixelRatio || 1, 16000 / bottom, 2);   // a canvas has a largest size
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(bottom * dense);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${bottom}px`;
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  if (!sheet.picture) drawOutlines(pen, sheet, width, scale);
  pen.fillStyle = "rgba(85, 98, 110, .28)";
  for (let row = 0; row < sheet.rows; row++) {
    const cell = panel.cells.of(row * sheet.columns);
    if (cell && panel.unseen(cell)) pen.fillRect(0, row * h, width, h);
  }
  const hatch = hatching(pen, 5), snap = (v) => Math.round(v * dense) / dense, framed = new Set();
  for (const at of panel.cells.at) {
    const paint = panel.paint(panel.cells.of(at));
    if (!paint) continue;
    const column = at % sheet.columns, row = Math.floor(at / sheet.columns);
    const [left, top] = [snap(column * w), snap(row * h)];   // whole dots: neighbours meet without a seam
    const box = [left, top, snap((column + 1) * w) - left, snap((row + 1) * h) - top];
    pen.globalAlpha = paint.faint ? 0.25 : paint.framed || sheet.columns === 1 ? 0.6 : 0.85;   // large areas let the page through
    pen.fillStyle = paint.fill;
    pen.fillRect(...box);
    pen.globalAlpha = 1;
    if (paint.faint) pen.globalAlpha = 0.4;
    if (paint.hatched) { pen.fillStyle = hatch; pen.fillRect(...box); }
    if (paint.framed) framed.add(at);
  }
  pen.globalAlpha = 1;
  drawFrames(pen, framed, sheet.columns, w, h);
  drawFold(pen, sheet, width, scale, look.words);
}

// ---- what is read: the numbers of a cell, in words

function speaker(look, sheet, answer, labels) {
  const { words, lang } = look;
  const number = (v, options) => new Intl.NumberFormat(lang, options).format(v);
  const value = (v, unit = sheet.unit) => {
    if (!Number.isFinite(v)) return v === Infinity ? "∞" : words.no_limit;
    if (unit === "share") return number(v, { style: "percent", maximumFractionDigits: v < 0.1 ? 2 : 1 });
    const short = number(v, { maximumSignificantDigits: 3 });
    return unit === "s" ? say(words.seconds, { n: short }) : short;
  };
  const place = (cell) => {
    const column = cell % sheet.columns, row = Math.floor(cell / sheet.columns);
    const x = (column + 0.5) / sheet.columns, y = (row + 0.5) * sheet.height;
    const around = sheet.boxes.filter(([, x0, y0, x1, y1]) => x0 <= x && x < x1 && y0 <= y && y < y1);
    const size = ([, x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
    const where = sheet.columns === 1
      ? say(words.band, { y0: number(row * sheet.height), y1: number((row + 1) * sheet.height) })
      : say(words.place, { x: number(100 * x, { maximumFractionDigits: 0 }), y: number(y) });
    const box = around.sort((p, q) => size(p) - size(q))[0];
    return { where, element: box ? say(words.element, { name: box[0] }) : "" };
  };
  const ofMap = (segment, c) => c && (c.exposed === 0
    ? say(words.cell_nobody, { segment: labels[segment] })
    : say(words[`cell_${sheet.kind}`], { segment: labels[segment], n: number(c.n, { maximumFractionDigits: 0 }), exposed: number(c.exposed),
                                       value: value(c.value), lo: value(c.lo), hi: value(c.hi) }));
  const ofDifference = (c) => {
    if (!c) return words.no_ratio;
    const numbers = { a: labels[answer.a], b: labels[answer.b], est: value(c.est, ""), lo: value(c.lo, ""), hi: value(c.hi, "") };
    return say(words.cell_difference, numbers) + words.separator + (c.flagged > 0 ? words.flagged : words.unflagged);
  };
  return { value, place, ofMap, ofDifference };
}

// ---- the widget

class Explorer {
  constructor(model, root) {
    Object.assign(this, { model, root, look: model.get("look"), cell: null, sheets: [] });
    root.classList.add("crmlab-explore");
    root.lang = this.look.lang;
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", this.look.words.name);
    this.build();
    model.on("change:answer", this.heard = () => this.show());
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(this.stage);
    this.show();
  }

  end() {
    this.watch.disconnect();
    this.model.off?.("change:answer", this.heard);
  }

  // -- parts

  build() {
    const { words } = this.look;
    const choices = this.model.get("choices"), single = choices.segments.length < 2;
    const list = (name, offered) => {
      const select = make("select", { onchange: () => this.choose({ [name]: select.value }) });
      for (const { name: value, label } of offered) select.append(make("option", { value }, label));
      return [select, make("label", { "data-choice": name }, make("span", {}, words[name]), select)];
    };
    const [page, pageBox] = list("page", choices.pages);
    const [device, deviceBox] = list("device", choices.devices);
    const [kind, kindBox] = list("kind", choices.kinds);
    const [a, aBox] = list("a", choices.segments);
    const [b, bBox] = list("b", choices.segments);
    const [view, viewBox] = list("view", ["maps", "difference"].map((name) => ({ name, label: words[name] })));
    this.lists = { page, device, kind, a, b, view };
    this.message = make("p", { class: "message", role: "status" });
    this.stage = make("div", { class: "stage" });
    this.legend = make("div", { class: "legend" });
    this.readout = make("div", { class: "readout", role: "status", "aria-live": "polite" }, make("p", {}, words.hint));
    this.places = make("ol");
    this.details = make("details", {}, make("summary", {}, words.places), this.places);
    this.root.replaceChildren(
      make("div", { class: "choices" }, pageBox, deviceBox, kindBox, ...(single ? [] : [aBox, bBox, viewBox])),
      this.message, this.stage, this.readout, this.legend,
      this.details,
      ...(this.model.get("note") ? [make("p", { class: "note" }, this.model.get("note"))] : []));
  }

  // -- choosing: the state goes to the kernel (or to what the page carries), the answer comes back by itself

  choose(change) {
    const page = this.model.get("choices").pages.find((p) => p.name === (change.page ?? this.model.get("page")));
    if (page && !page.devices.includes(change.device ?? this.model.get("device"))) change.device = page.devices[0];
    for (const [name, value] of Object.entries(change)) this.model.set(name, value);
    this.root.dataset.state = "waiting";
    this.message.textContent = this.look.words.working;
    this.model.save_changes();
  }

  show() {
    const answer = this.model.get("answer"), [page, device, kind, a, b, view] = answer.key;
    const state = { page, device, kind, a, b, view };
    for (const [name, select] of Object.entries(this.lists)) select.value = state[name];
    const devices = this.model.get("choices").pages.find((p) => p.name === page)?.devices ?? [];
    for (const option of this.lists.device.options) option.disabled = !devices.includes(option.value);
    this.message.textContent = answer.error;
    this.root.dataset.state = answer.error ? "error" : "shown";
    this.root.dataset.shown = JSON.stringify(answer.key);
    for (const part of [this.stage, this.legend, this.readout, this.details]) part.hidden = Boolean(answer.error);
    if (answer.error) return;
    this.answer = { ...answer, a, b };
    this.draw();
  }

  draw() {
    const sheet = this.model.get("sheet"), { look, answer } = this;
    if (sheet !== this.sheet) this.cell = null;   // another page
    this.sheet = sheet;
    const labels = Object.fromEntries(this.model.get("choices").segments.map((s) => [s.name, s.label]));
    const drawn = answer.difference ? differencePanel(sheet, answer, look, labels) : mapPanels(sheet, answer, look, labels);
    this.panels = drawn.panels;
    this.speaker = speaker(look, sheet, answer, labels);
    this.maps = [...new Set([answer.a, answer.b])].map((segment) => [segment, unpack(answer.maps[segment]?.cells, sheet.columns, MAP)]);
    this.ratios = answer.difference && this.panels[0].cells;
    this.sheets = this.panels.map((panel) => this.panelElement(panel));
    this.stage.replaceChildren(...this.sheets.map((s) => s.figure));
    this.width = 0;
    this.resize();
    this.drawLegend(drawn.legend);
    this.listPlaces();
    if (this.cell === null) this.readout.replaceChildren(make("p", {}, look.words.hint));
  }

  panelElement(panel) {
    const canvas = make("canvas", { "aria-hidden": "true" }), cursor = make("div", { class: "cursor", hidden: "" });
    const image = this.sheet.picture ? [make("img", { src: this.sheet.picture, alt: "" })] : [];
    const area = make("div", {
      class: "sheet", tabindex: "0", role: "application", "aria-label": `${panel.title}. ${this.look.words.keys}`,
      onpointermove: (event) => this.point(this.cellUnder(event)),
      onpointerdown: (event) => this.point(this.cellUnder(event)),
      onfocus: () => this.cell === null && this.point(0),
      onkeydown: (event) => this.key(event, cursor),
    }, ...image, canvas, cursor);
    const figure = make("figure", {}, make("figcaption", {}, panel.title), area);
    return { figure, canvas, cursor, image: image[0], panel };
  }

  // -- size

  resize() {
    if (!this.sheets.length || !this.stage.clientWidth) return;
    const { page_w, page_h, rows, height } = this.sheet, gap = 10;
    const width = Math.floor(Math.min((this.stage.clientWidth - gap * (this.sheets.length - 1)) / this.sheets.length, page_w, 620));
    if (width === this.width) return;
    this.width = width;
    for (const { figure, canvas, panel, image } of this.sheets) {
      figure.style.width = `${width}px`;
      if (image) image.style.height = `${((page_h ?? rows * height) * width) / page_w}px`;
      drawPanel(canvas, panel, this.sheet, this.look, width);
    }
    this.point(this.cell);
  }

  // -- pointing

  cellUnder(event) {
    const { columns, rows, height, page_w } = this.sheet, box = event.currentTarget.getBoundingClientRect();
    const within = (v, top) => Math.min(Math.max(Math.floor(v), 0), top - 1);
    const column = within(((event.clientX - box.left) / this.width) * columns, columns);
    const row = within(((event.clientY - box.top) / this.width) * (page_w / height), rows);
    return row * columns + column;
  }

  key(event, cursor) {
    const { columns, rows } = this.sheet, column = this.cell % columns, row = Math.floor(this.cell / columns);
    const [c, r] = { ArrowLeft: [column - 1, row], ArrowRight: [column + 1, row], ArrowUp: [column, row - 1], ArrowDown: [column, row + 1],
                     PageUp: [column, row - 10], PageDown: [column, row + 10], Home: [0, row], End: [columns - 1, row] }[event.key] ?? [];
    if (c === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();   // the notebook has its own arrow keys
    const within = (v, top) => Math.min(Math.max(v, 0), top - 1);
    this.point(within(r, rows) * columns + within(c, columns));
    cursor.scrollIntoView({ block: "nearest" });
  }

  point(cell) {
    this.cell = cell;
    for (const { cursor } of this.sheets) cursor.hidden = cell === null;
    if (cell === null) return;
    const { columns, height, page_w } = this.sheet, scale = this.width / page_w;
    const box = { left: ((cell % columns) * this.width) / columns, top: Math.floor(cell / columns) * height * scale, width: this.width / columns, height: height * scale };
    for (const { cursor } of this.sheets) for (const side in box) cursor.style[side] = `${box[side]}px`;
    const { where, element } = this.speaker.place(cell);
    const lines = this.ratios ? [this.speaker.ofDifference(this.ratios.of(cell))] : [];
    for (const [segment, cells] of this.maps) lines.push(this.speaker.ofMap(segment, cells.of(cell)));
    const head = make("p", { class: "where" }, make("strong", {}, element || where), ...(element ? [` ${where}`] : []));
    this.readout.replaceChildren(head, ...lines.filter(Boolean).map((line) => make("p", {}, line)));
  }

  // -- beside the maps

  drawLegend({ colours, text, ends, unit, compared }) {
    const { words, wide } = this.look;
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
    const sample = (kind, text) => make("span", { class: "sample" }, make("i", { class: kind, "aria-hidden": "true" }), text);
    const times = (v) => `×${new Intl.NumberFormat(this.look.lang, { maximumSignificantDigits: 2 }).format(v)}`;
    const [low, high] = ends.map((v) => (unit === "times" ? times(v) : this.speaker.value(v, unit)));
    this.legend.replaceChildren(
      make("span", { class: "scale" }, low, bar, high), make("span", {}, text),
      sample("hatched", compared ? words.unsure : say(words.hatched, { times: wide })),
      compared ? sample("framed", words.framed) : sample("unseen", words.unseen));
  }

  // the strongest places, one per element, and the regions that differ: buttons that move the cursor there
  listPlaces() {
    const regions = this.panels[0].places?.map(([name, at]) => [name ? say(this.look.words.element, { name }) : this.speaker.place(at).where, at]);
    const button = ([name, at]) => make("li", {}, make("button", { type: "button", onclick: () => {
      this.point(at);
      this.sheets[0].cursor.scrollIntoView({ block: "nearest" });
    } }, name));
    const first = (regions ?? this.strongest()).slice(0, 8);
    this.details.hidden = this.sheet.kind === "scroll";   // there the top of the page always leads
    this.places.replaceChildren(...first.map(button));
    if (!first.length) this.places.append(make("li", { class: "none" }, this.look.words.no_places));
  }

  strongest() {
    const best = new Map();
    for (const { cells, strength } of this.panels) {
      for (const at of cells.at) {
        const strong = strength(cells.of(at)), { where, element } = this.speaker.place(at), name = element || where;
        if (strong > (best.get(name)?.strong ?? 0)) best.set(name, { at, strong });
      }
    }
    return [...best].sort((p, q) => q[1].strong - p[1].strong).map(([name, { at }]) => [name, at]);
  }
}

// ---- JupyterLab

export default {
  render({ model, el }) {
    const root = make("div");
    el.append(root);
    const explorer = new Explorer(model, root);
    return () => explorer.end();
  },
};

// ---- saved pages: a model that answers from the maps the page carries

function savedModel(saved) {
  const state = { ...saved.state }, listeners = [];
  const answer = () => {
    const key = ["page", "device", "kind", "a", "b", "view"].map((name) => state[name]), [page, device, kind, a, b, view] = key;
    const found = saved.maps.find(({ which }) => which[0] === page && which[1] === device && which[2] === kind);
    const difference = found?.differences.find((d) => d.a === a && d.b === b)?.cells ?? null;
    const compare = view === "difference" && a !== b, bands = compare && found?.sheet.columns === 1;
    const missing = !found || !(a in found.maps && b in found.maps) || (compare && !difference);
    const error = bands ? state.look.words.bands : missing ? state.look.words.not_saved : "";
    if (found) state.sheet = found.whole ??= { ...found.sheet, picture: saved.pictures[found.sheet.picture] };
    state.answer = { key, maps: error ? {} : found.maps, difference: compare ? difference : null, error };
  };
  answer();
  return {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; },
    on: (name, listener) => { if (name === "change:answer") listeners.push(listener); },
    save_changes: () => { answer(); listeners.forEach((listener) => listener()); },
  };
}

function showSaved(name) {
  const root = document.querySelector(`[data-saved="${name}"]:not([data-state])`);   // the same widget may stand in a page twice
  const data = document.querySelector(`[data-saved-maps="${name}"]`);
  if (root && data) new Explorer(savedModel(JSON.parse(data.textContent)), root);
}
