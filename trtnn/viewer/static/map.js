// The map: modules as nested areas, drawn by Vega. What has no size is not on it; how much that is, is said.

const PATTERNS = { // of precisions, so that they can be told apart without colour
  float32: "", float16: "M0 8L8 0", bfloat16: "M0 4H8", int8: "M0 0L8 8M0 8L8 0", float8_e4m3fn: "M4 0V8M0 4H8", int32: "M4 0V8",
  int64: "M2 0V8M6 0V8", bool: "M0 2H8M0 6H8", mixed: "M0 8L8 0M0 4H8", none: "M4 4h1",
};
const PRECISION_COLORS = {
  float32: "#4477aa", float16: "#ccbb44", bfloat16: "#66ccee", int8: "#ee6677", float8_e4m3fn: "#aa3377", int32: "#999933",
  int64: "#777722", bool: "#bbbbbb", mixed: "#228833", none: "#dddddd",
};

function drawPatterns() {
  const patterns = Object.entries(PATTERNS).map(([name, d]) =>
    drawing("pattern", { id: `pattern-${name}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
      drawing("path", { d, stroke: "rgba(0,0,0,.3)", "stroke-width": 1.4, fill: "none" })));
  document.getElementById("patterns").replaceChildren(...patterns);
}

// The cells of a model's map: its open module, what is in it to the chosen depth, and all deeper as one area each.
function cells(model) {
  const top = openModule(model), result = [], hidden = { count: 0 };
  const coloured = colors(models)[state.color];
  const add = (entry, parent, level, prefix) => {
    const { sum } = total(entry, state.size), children = childrenOf(entry);
    const label = `${prefix}${labelOf(entry)}`;
    if (children.length === 1 && level > 0) return add(children[0], parent, level, isModule(children[0]) ? `${label}.` : `${label} `);
    if (!sum) { hidden.count += total(entry, state.size).rows; return null; }
    const isLeaf = !children.length || level >= state.depth;
    const value = coloured?.value(entry) ?? null;
    result.push({
      id: entry.key, parent, label, leaf: isLeaf, size: isLeaf ? sum : 0, depth: level,
      color: typeof value === "number" && !(Number.isFinite(value) && (coloured.scale !== "log" || value > 0)) ? null : value,
      second: `${SIZES[state.size].text(sum)}${value !== null && state.color !== state.size ? `, ${coloured.text(value)}` : ""}`,
      title: `${pathOf(entry)} ${entry.kind}\n${SIZES[state.size].label}: ${totalText(entry, state.size)}\n${coloured?.label}: ${value === null ? "unknown" : coloured.text(value)}`,
      precision: precision(entry),
    });
    if (!isLeaf) for (const child of children) add(child, entry.key, level + 1, "");
    return entry;
  };
  add(top, null, 0, "");
  return { rows: result, hidden: hidden.count };
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
  const values = rows.filter((row) => row.leaf).map((row) => row.color).filter((value) => value !== null);
  let [least, most] = values.length ? [Math.min(...values), Math.max(...values)] : [1, 10];
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
  const text = (dy, name, weight, when) => ({
    type: "text", from: { data: "leaves" }, interactive: false,
    encode: { update: {
      x: { field: "x0", offset: 4 }, y: { field: "y0", offset: dy }, text: field(name), limit: room, fontWeight: { value: weight },
      fontSize: { value: 11 }, fill: dark, opacity: { signal: `${when} ? 1 : 0` },
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
      { name: "leaves", source: "tree", transform: [{ type: "filter", expr: "datum.leaf" }] },
      { name: "marked", source: "tree", transform: [{ type: "filter", expr: "datum.id === chosen" }] },
    ],
    scales: [scale],
    marks: [
      { type: "rect", from: { data: "inner" }, encode: { update: { ...box, fill: { value: ink("ground") }, stroke: { value: ink("line") }, tooltip: field("title") } } },
      { type: "text", from: { data: "inner" }, interactive: false, encode: { update: {
        x: { field: "x0", offset: 4 }, y: { field: "y0", offset: 13 }, text: { signal: "datum.label + '  ' + datum.second" }, limit: room,
        fontSize: { value: 11 }, fontWeight: { value: 600 }, fill: { value: ink("ink") }, opacity: { signal: `${fits(24, 18)} ? 1 : 0` } } } },
      { type: "rect", from: { data: "leaves" }, encode: { update: { ...box, fill, stroke: { value: ink("ground") }, tooltip: field("title") } } },
      { type: "rect", from: { data: "leaves" }, interactive: false, encode: { update: { ...box,
        fill: { signal: state.color === "precision" ? "'url(#pattern-' + datum.precision + ')'" : "'transparent'" } } } },
      text(13, "label", 600, fits(22, 15)),
      text(26, "second", 400, fits(30, 29)),
      { type: "rect", from: { data: "marked" }, interactive: false, encode: { update: { ...box, fill: { value: "transparent" },
        stroke: { value: ink("accent") }, strokeWidth: { value: 4 }, strokeDash: { value: [9, 4] } } } },
    ],
  };
}

const maps = [];

function drawMaps() {
  const panes = document.getElementById("map-panes"), focused = maps.find((map) => map.box === document.activeElement)?.model;
  for (const map of maps.splice(0)) map.view.finalize();
  panes.replaceChildren();
  const all = models.map(cells), scale = colorScale(all.flatMap((one) => one.rows));
  const boxes = models.map((model, index) => { // first all of them: a view is as wide as its box
    const { rows, hidden } = all[index], label = SIZES[state.size].label;
    const pane = element("div", { class: "pane" });
    panes.append(pane);
    if (models.length > 1) pane.append(element("h3", {}, `${"AB"[index]}: ${model.title}, ${label} ${totalText(model.root, state.size)}`));
    if (!rows.length) {
      pane.append(element("p", { class: "hint" }, model.rows.length ? `No ${label} is known of what is open.` : "There are no layers to show."));
      return null;
    }
    const box = element("div", {
      class: "map", tabindex: 0, role: "application", "aria-roledescription": "map", "aria-describedby": "map-keys",
      "aria-label": `Map of ${model.title}: ${rows.length} areas by ${label}`,
    });
    pane.append(box);
    if (hidden) pane.append(element("p", { class: "hint" }, `${layerCount(hidden)} without ${label} ${hidden === 1 ? "is" : "are"} not on the map.`));
    return box;
  });
  boxes.forEach((box, index) => {
    if (box) drawMap(box, models[index], all[index].rows, scale);
    if (box && models[index] === focused) box.focus();
  });
  drawLegend(scale);
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

function drawLegend(scale) {
  const box = document.getElementById("legend"), chosen = colors(models)[state.color];
  box.replaceChildren();
  if (!chosen) return;
  const text = { labelColor: ink("ink"), titleColor: ink("ink"), labelLimit: 200, titleLimit: 300 };
  const legend = chosen.scale === "ordinal"
    ? { fill: "color", title: chosen.label, direction: "horizontal", orient: "none", symbolType: "square", columns: 4, ...text }
    : { fill: "color", title: chosen.label, direction: "horizontal", orient: "none", gradientLength: 260, format: state.color.startsWith("error:") ? ".0e" : ".3~r", tickCount: 4, ...text };
  viewIn(box, { width: 300, height: 40, padding: 2, autosize: "pad", scales: [scale], legends: [legend] });
}
