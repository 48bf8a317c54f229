// The map: modules as nested areas, drawn by Vega. What has no size is not on it; how much that is, is said.

const PATTERNS = { // of precisions, so that they can be told apart without colour
  float32: "", float16: "M0 8L8 0", bfloat16: "M0 4H8", int8: "M0 0L8 8M0 8L8 0", float8_e4m3fn: "M4 0V8M0 4H8", int32: "M4 0V8",
  int64: "M2 0V8M6 0V8", bool: "M0 2H8M0 6H8", mixed: "M0 8L8 0M0 4H8", none: "M4 4h1",
};
const PRECISION_COLORS = { // light ones, on which black text is read in light and dark, through the patterns too
  float32: "#99bbee", float16: "#eedd88", bfloat16: "#99ddff", int8: "#ffaa88", float8_e4m3fn: "#ffaabb", int32: "#cccc88",
  int64: "#bbaa88", bool: "#cccccc", mixed: "#88ccaa", none: "#e4e4e4",
};

function drawPatterns() {
  const patterns = Object.entries(PATTERNS).map(([name, d]) =>
    drawing("pattern", { id: `pattern-${name}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
      drawing("path", { d, stroke: "rgba(0,0,0,.25)", "stroke-width": 1.4, fill: "none" })));
  document.getElementById("patterns").replaceChildren(...patterns);
}

const MAP_HEIGHT = 460; // px, as page.css has it
const SMALLEST = 1200; // px² of an area with its name above what is in it

// The cells of a model's map: its open module, what is in it to the chosen depth, and all deeper as one area each.
// So is a module whose area has no room for what is in it.
function cells(model, room) {
  const top = openModule(model), result = [], hidden = { none: 0, unknown: 0 };
  if (!top) return { rows: [], hidden };
  const whole = total(top, state.size).sum;
  const coloured = colors(models)[state.color];
  const add = (entry, parent, level, prefix) => {
    const { sum, unknown, rows } = total(entry, state.size), children = childrenOf(entry);
    const label = `${prefix}${labelOf(entry)}`;
    if (children.length === 1 && level > 0) { add(children[0], parent, level, isModule(children[0]) ? `${label}.` : `${label} `); return; }
    if (!sum) { hidden.none += rows - unknown; hidden.unknown += unknown; return; }
    const isLeaf = !children.length || level >= state.depth || (level > 0 && (sum / whole) * room < SMALLEST);
    const value = coloured?.value(entry) ?? null, told = value === null ? "" : coloured.describe?.(entry) ?? coloured.text(value);
    result.push({
      id: entry.key, parent, label, leaf: isLeaf, size: isLeaf ? sum : 0, depth: level,
      color: typeof value === "number" && coloured.scale === "log" && !(value > 0) ? null : value,
      second: `${leastText(entry, state.size)}${value !== null && state.color !== state.size ? `, ${told}` : ""}`,
      title: `${pathOf(entry)} ${entry.kind}\n${SIZES[state.size].label}: ${totalText(entry, state.size)}\n${coloured?.label}: ${value === null ? "unknown" : told}`,
      precision: precision(entry),
    });
    if (isLeaf) hidden.unknown += unknown;
    else for (const child of children) add(child, entry.key, level + 1, "");
  };
  add(top, null, 0, "");
  return { rows: result, hidden };
}

// The cell that stands for an entry: its own, that of what holds it, or that of the one thing which it holds.
function cellOf(entry, ids) {
  for (let at = entry; at; at = holderOf(at)) if (ids.has(at.key)) return at.key;
  for (let at = entry; at; [at] = childrenOf(at)) if (ids.has(at.key)) return at.key;
  return null;
}

function colorScale(rows) {
  const kind = colors(models)[state.color]?.scale ?? "ordinal";
  if (kind === "ordinal") {
    const names = [...new Set(rows.map((row) => row.color))].filter((name) => name !== null);
    return { name: "color", type: "ordinal", domain: names, range: names.map((name) => PRECISION_COLORS[name] ?? "#dddddd") };
  }
  const values = rows.filter((row) => row.leaf).map((row) => row.color).filter((value) => value !== null && value !== Infinity);
  if (!values.length) return { name: "color", type: "ordinal", domain: [], range: [] };
  let [least, most] = [Math.min(...values), Math.max(...values)];
  if (kind === "linear") least = 0;
  if (least === most) [least, most] = kind === "log" ? [least / 2, most * 2] : [0, most || 1];
  return { name: "color", type: kind, domain: [least, most], range: { scheme: "viridis" } };
}

function mapSpec(rows, scale, width, height) {
  const field = (name) => ({ field: name });
  const box = { x: field("x0"), y: field("y0"), x2: field("x1"), y2: field("y1") };
  const fits = (w, h) => `datum.x1 - datum.x0 > ${w} && datum.y1 - datum.y0 > ${h}`;
  const room = { signal: "datum.x1 - datum.x0 - 8" };
  const fill = [{ test: "datum.color === null", value: ink("raised") }, { scale: "color", field: "color" }];
  const dark = { signal: "datum.color === null ? '" + ink("ink") + "' : luminance(scale('color', datum.color)) > 0.179 ? '#000' : '#fff'" };
  const text = (dy, name, weight, from) => ({
    type: "text", from: { data: from }, interactive: false,
    encode: { update: {
      x: { field: "x0", offset: 4 }, y: { field: "y0", offset: dy }, text: field(name), limit: room, fontWeight: { value: weight },
      fontSize: { value: 11 }, fill: dark,
    } },
  });
  return {
    width, height, padding: 0,
    signals: [{ name: "chosen", value: null }],
    data: [
      { name: "tree", values: rows, transform: [
        { type: "stratify", key: "id", parentKey: "parent" },
        { type: "treemap", field: "size", sort: { field: "value", order: "descending" }, round: true, method: "squarify", ratio: 1.5,
          paddingInner: 2, paddingOuter: 3, paddingTop: 17, size: [width, height] }] },
      { name: "inner", source: "tree", transform: [{ type: "filter", expr: "!datum.leaf" }] },
      { name: "titled", source: "inner", transform: [{ type: "filter", expr: fits(24, 18) }] },
      { name: "leaves", source: "tree", transform: [{ type: "filter", expr: "datum.leaf" }] },
      { name: "labelled", source: "leaves", transform: [{ type: "filter", expr: fits(22, 15) }] },
      { name: "measured", source: "leaves", transform: [{ type: "filter", expr: fits(30, 29) }] },
      { name: "patterned", source: "leaves", transform: [{ type: "filter", expr: String(state.color === "precision") }] },
      { name: "marked", source: "tree", transform: [{ type: "filter", expr: "datum.id === chosen" }] },
    ],
    scales: [scale],
    marks: [
      { type: "rect", from: { data: "inner" }, encode: { update: { ...box, fill: { value: ink("ground") }, stroke: { value: ink("line") }, tooltip: field("title") } } },
      { type: "text", from: { data: "titled" }, interactive: false, encode: { update: {
        x: { field: "x0", offset: 4 }, y: { field: "y0", offset: 13 }, text: { signal: "datum.label + ': ' + datum.second" }, limit: room,
        fontSize: { value: 11 }, fontWeight: { value: 600 }, fill: { value: ink("ink") } } } },
      { type: "rect", from: { data: "leaves" }, encode: { update: { ...box, fill, stroke: { value: ink("ground") }, tooltip: field("title") } } },
      { type: "rect", from: { data: "patterned" }, interactive: false, encode: { update: { ...box, fill: { signal: "'url(#pattern-' + datum.precision + ')'" } } } },
      text(13, "label", 600, "labelled"),
      text(26, "second", 400, "measured"),
      { type: "rect", from: { data: "marked" }, interactive: false, encode: { update: { ...box, fill: { value: "transparent" },
        stroke: { value: ink("accent") }, strokeWidth: { value: 4 }, strokeDash: { value: [9, 4] } } } },
    ],
  };
}

// Why nothing of a model is on the map.
function whyEmpty(model) {
  const open = openModule(model), { label } = SIZES[state.size];
  if (!model.rows.length) return "There are no layers to show.";
  if (!open) return `It has no module ${state.open}.`;
  const { unknown, rows } = total(open, state.size);
  return unknown === rows ? `${label}: unknown of all that is open.` : `${label}: 0 of all that is known of what is open.`;
}

const maps = [];

function drawMaps() {
  const panes = document.getElementById("map-panes"), focused = maps.find((map) => map.box === document.activeElement)?.model;
  for (const map of maps.splice(0)) map.view.finalize();
  panes.replaceChildren();
  const room = (panes.clientWidth / models.length) * MAP_HEIGHT;
  const all = models.map((model) => cells(model, room)), scale = colorScale(all.flatMap((one) => one.rows));
  for (const row of all.flatMap((one) => one.rows)) if (row.color === Infinity) row.color = scale.domain.at(-1) ?? null; // as the largest
  const boxes = models.map((model, index) => { // first all of them: a view is as wide as its box
    const { rows, hidden } = all[index], label = SIZES[state.size].label;
    const pane = element("div", { class: "pane" });
    panes.append(pane);
    if (models.length > 1) pane.append(element("h3", {}, `${"AB"[index]}: ${model.title}, ${label} ${totalText(model.root, state.size)}`));
    if (!rows.length) {
      pane.append(element("p", { class: "hint" }, whyEmpty(model)));
      return null;
    }
    const box = element("div", {
      class: "map", tabindex: 0, role: "application", "aria-roledescription": "map", "aria-describedby": "map-keys",
      "aria-label": `Map of ${model.title}: ${rows.length} areas by ${label}`,
    });
    pane.append(box);
    const absent = [[hidden.none, `without ${label}`], [hidden.unknown, `of unknown ${label}`]].filter(([count]) => count).map(([count, what]) => `${layerCount(count)} ${what}`);
    if (absent.length) pane.append(element("p", { class: "hint" }, `Not on the map: ${absent.join(", ")}.`));
    return box;
  });
  boxes.forEach((box, index) => {
    if (box) drawMap(box, models[index], all[index].rows, scale);
    if (box && models[index] === focused) box.focus();
  });
  drawLegend(scale, all.some(({ rows }) => rows.length));
}

function drawMap(box, model, rows, scale) {
  const view = viewIn(box, mapSpec(rows, scale, box.clientWidth, box.clientHeight));
  const map = { model, view, ids: new Set(rows.map((row) => row.id)), box };
  maps.push(map);
  view.addEventListener("click", (event, item) => { if (item?.datum?.id) select(model.byKey.get(item.datum.id)); });
  view.addEventListener("dblclick", (event, item) => { if (item?.datum?.id) enter(model.byKey.get(item.datum.id)); });
  box.addEventListener("keydown", (event) => steer(event, map));
  mark(map);
}

function mark(map) {
  const entry = inModel(state.selected, map.model);
  map.view.signal("chosen", entry ? cellOf(entry, map.ids) : null).run();
}

// Keys on the map: along the areas of one module, out of it, into it.
function steer(event, map) {
  const { model, ids } = map, current = inModel(state.selected, model), key = current && cellOf(current, ids);
  const at = key ? model.byKey.get(key) : null;
  const onMap = (entry) => childrenOf(entry).map((child) => reach(child, ids, model)).filter(Boolean);
  const bySize = (entries) => entries.sort((a, b) => total(b, state.size).sum - total(a, state.size).sum);
  const holder = (entry) => { let up = holderOf(entry); while (up && !ids.has(up.key)) up = holderOf(up); return up; };
  const along = (step) => {
    const above = at && holder(at), row = above ? bySize(onMap(above)) : [];
    return row[(row.indexOf(at) + step + row.length) % row.length];
  };
  const moves = {
    ArrowRight: () => select(at && holder(at) ? along(1) : reach(openModule(model), ids, model)),
    ArrowLeft: () => select(at && holder(at) ? along(-1) : reach(openModule(model), ids, model)),
    ArrowDown: () => select(at ? bySize(onMap(at))[0] ?? at : reach(openModule(model), ids, model)),
    ArrowUp: () => select(at ? holder(at) ?? at : reach(openModule(model), ids, model)),
    Enter: () => enter(state.selected ?? null),
    Escape: leave,
  };
  if (moves[event.key]) { event.preventDefault(); moves[event.key](); }
}

// The entry on the map that an entry is drawn as: itself, or the one thing that it holds.
function reach(entry, ids, model) {
  const key = ids.has(entry.key) ? entry.key : childrenOf(entry).length === 1 ? reach(childrenOf(entry)[0], ids, model)?.key : null;
  return key ? model.byKey.get(key) : null;
}

function drawLegend(scale, isMapped) {
  const box = document.getElementById("legend"), chosen = colors(models)[state.color], size = SIZES[state.size].label;
  box.replaceChildren();
  if (!chosen || !isMapped) return;
  box.append(element("p", { class: "hint" }, `On each area: its name, ${state.color === state.size ? size : `${size}, ${chosen.label}`}. Its size is by ${size}.`));
  if (!scale.domain.length) {
    box.append(element("p", { class: "hint" }, `${chosen.label}: nothing to colour by.`));
    return;
  }
  if (chosen.scale === "ordinal") {
    box.append(element("ul", { "aria-label": chosen.label }, ...scale.domain.map((name, index) => element("li", {}, keyOf(name, scale.range[index]), name))));
    return;
  }
  const text = { labelColor: ink("ink"), titleColor: ink("ink"), labelLimit: 200, titleLimit: 300 };
  const legend = { fill: "color", title: `${chosen.label}${state.color === "milliseconds" ? " in ms" : ""}`, direction: "horizontal", orient: "none", gradientLength: 260, format: state.color.startsWith("error:") ? ".1e" : ".3~r", tickCount: 4, ...text };
  viewIn(box, { width: 300, height: 40, padding: { left: 16, top: 2, right: 16, bottom: 2 }, scales: [scale], legends: [legend] });
}

// A small area as it is on the map, of a precision.
function keyOf(name, color) {
  const area = (fill) => drawing("rect", { width: 28, height: 16, fill });
  return drawing("svg", { width: 28, height: 16, "aria-hidden": "true" }, area(color), area(`url(#pattern-${name in PATTERNS ? name : "none"})`));
}
