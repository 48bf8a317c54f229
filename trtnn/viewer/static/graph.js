// The graph of the module that is open: what is in it, with the tensors between, placed by dagre.

const LETTER = 7.3, LINE = 15; // px of a letter and of a line
const MOST_NODES = 300, PART = 150; // more nodes take seconds to place: of so many a part is drawn
const MOST_READERS = 6; // of one tensor outside of what is drawn
let zoom = 1, part = 0;

function lengthOf(text) { return text.length * LETTER; }

// What a row is drawn as in the graph of a module: one of its modules, or itself.
function nodeOf(row, module, every) {
  if (every || row.home === module) return row;
  let at = row.home;
  while (at.holder !== module) at = at.holder;
  return at;
}

// The nodes and edges of rows in the graph of a module, with what lies outside of these rows as nodes of their own.
function graphOf(module, rows, every) {
  const { model } = module, inside = new Set(rows), nodes = new Map(), edges = new Map(), outputs = new Set(model.facts.outputs);
  const add = (key, node) => { if (!nodes.has(key)) nodes.set(key, { key, ...node }); return key; };
  const link = (from, to, name) => {
    if (from === to) return;
    const key = `${from}\n${to}`;
    if (!edges.has(key)) edges.set(key, { from, to, names: new Set() });
    edges.get(key).names.add(name);
  };
  const own = (row) => { const entry = nodeOf(row, module, every); return add(entry.key, { entry }); };
  rows.forEach(own);
  for (const row of rows) {
    for (const name of row.inputs) {
      const maker = model.producers.get(name);
      link(maker && inside.has(maker) ? own(maker) : add(`in:${name}`, { outside: maker ? `from ${nameOf(maker)}` : model.facts.inputs.includes(name) ? `input ${name}` : name, leads: maker }), own(row), name);
    }
    for (const name of row.outputs) {
      if (outputs.has(name)) link(own(row), add(`out:${name}`, { outside: `output ${name}` }), name);
      const readers = (model.readers.get(name) ?? []).filter((reader) => !inside.has(reader)), more = readers.length - MOST_READERS;
      for (const reader of readers.slice(0, MOST_READERS)) link(own(row), add(`to:${reader.key}`, { outside: `to ${nameOf(reader)}`, leads: reader }), name);
      if (more > 0) link(own(row), add(`more:${name}`, { outside: `to ${more} more` }), name);
    }
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

function linesOf(node) {
  if (!node.entry) return [node.outside];
  const { entry } = node, cost = total(entry, state.size).sum ? leastText(entry, state.size) : "";
  const kind = isModule(entry) ? `${entry.kind || "module"}, ${layerCount(rowsOf(entry).length)}` : entry.kind;
  const several = !isModule(entry) && entry.modules.length > 1 ? [`fused of ${entry.modules.length} modules`] : [];
  return [shorten(nameOf(entry)), [kind, precisions(entry).join("+"), cost].filter(Boolean).join(" "), ...several];
}

const shorten = (text) => (text.length > 42 ? `${text.slice(0, 20)}…${text.slice(-20)}` : text);

function textsOf(edge, model) {
  const texts = [...edge.names].map((name) => shapeText(model.tensors.get(name)));
  return texts.length > 2 ? [...texts.slice(0, 2), `and ${texts.length - 2} more`] : texts;
}

const graphModel = () => models[Number(document.getElementById("graph-side").value || 0)];
const isEvery = () => document.getElementById("every").checked;

// The entries that are the nodes of a module, in the order in which they run.
function entriesOf(module) {
  return [...new Set(rowsOf(module).map((row) => nodeOf(row, module, isEvery())))].sort((a, b) => firstOf(a) - firstOf(b));
}

const firstOf = (entry) => rowsOf(entry).reduce((least, row) => Math.min(least, row.position), Infinity);

// The part that is drawn of a module of too many nodes, all of one that has fewer.
function shownPart(module) {
  const entries = entriesOf(module), isWhole = entries.length <= MOST_NODES;
  part = isWhole ? 0 : Math.min(part, Math.floor((entries.length - 1) / PART));
  const first = part * PART, last = isWhole ? entries.length : Math.min(first + PART, entries.length);
  document.getElementById("parts").hidden = isWhole;
  document.getElementById("part").textContent = isWhole ? "" : `${first + 1} to ${last} of ${entries.length}`;
  document.getElementById("earlier").disabled = first === 0;
  document.getElementById("later").disabled = last === entries.length;
  return entries.slice(first, last);
}

function turnPart(by) { part += by; drawGraph(); }

// Turn to the part that holds what is selected, and tell whether it is another one.
function toPart() {
  const model = graphModel(), module = openModule(model), entries = module ? entriesOf(module) : [], keys = new Set();
  for (let at = inModel(state.selected, model); at; at = holderOf(at)) keys.add(at.key);
  const index = entries.findIndex((entry) => keys.has(entry.key));
  const is = index >= 0 && entries.length > MOST_NODES ? Math.floor(index / PART) : part;
  if (is === part) return false;
  part = is;
  return true;
}

function noGraph(box, why) {
  document.getElementById("graph-title").textContent = "Graph";
  document.getElementById("parts").hidden = true;
  box.replaceChildren(element("p", { class: "hint" }, why));
}

function drawGraph() {
  const box = document.getElementById("graph"), title = document.getElementById("graph-title");
  const model = graphModel(), module = openModule(model);
  if (!module) { noGraph(box, `It has no module ${state.open}.`); return; }
  title.textContent = `Graph of ${nameOf(module)}`;
  const drawn = shownPart(module), rows = drawn.flatMap(rowsOf).sort((a, b) => a.position - b.position);
  const { nodes, edges } = graphOf(module, rows, isEvery());
  if (!nodes.length) { noGraph(box, "There are no layers to show."); return; }
  for (const node of nodes) {
    node.lines = linesOf(node);
    Object.assign(node, { v: node.key, width: Math.max(...node.lines.map(lengthOf)) + 18, height: node.lines.length * LINE + 12 });
  }
  const links = edges.map((edge) => {
    const lines = textsOf(edge, model);
    return { v: edge.from, w: edge.to, lines, minlen: 1, weight: 1, width: Math.max(...lines.map(lengthOf)) + 8, height: lines.length * LINE, labeloffset: 4, labelpos: "r" };
  });
  const placed = nodes.map(({ v, width, height }) => ({ v, width, height }));
  dagre.layout(placed, links, { nodesep: 24, ranksep: 30, ...(nodes.length > 100 ? { ranker: "longest-path" } : {}) }, {});
  nodes.forEach((node, index) => Object.assign(node, { x: placed[index].x, y: placed[index].y }));
  box.replaceChildren(pictureOf(nodes, links, model));
  markNodes();
}

function pictureOf(nodes, links, model) {
  const points = [...nodes.flatMap((n) => [{ x: n.x - n.width / 2, y: n.y - n.height / 2 }, { x: n.x + n.width / 2, y: n.y + n.height / 2 }]),
    ...links.flatMap((link) => [...link.points, { x: link.x - link.width / 2, y: link.y }, { x: link.x + link.width / 2, y: link.y }])];
  const [xs, ys] = [points.map((p) => p.x), points.map((p) => p.y)];
  const [left, top] = [Math.min(...xs) - 10, Math.min(...ys) - 10];
  const [width, height] = [Math.max(...xs) - left + 10, Math.max(...ys) - top + 10];
  const arrow = drawing("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, drawing("path", { d: "M0 0L8 4L0 8z", fill: ink("soft") }));
  const lines = (texts, x, y, first) => texts.map((text, index) => {
    const made = drawing("text", { x, y: y + (index - (texts.length - 1) / 2) * LINE + 4, "text-anchor": "middle", class: index || !first ? "second" : "first" });
    made.textContent = text;
    return made;
  });
  const paths = links.map((link) => drawing("g", { class: "edge" },
    drawing("path", { d: `M${link.points.map((p) => `${p.x} ${p.y}`).join("L")}`, "marker-end": "url(#arrow)" })));
  const labels = links.map((link) => drawing("g", { class: "edge" }, ...lines(link.lines, link.x, link.y, false)));
  const boxes = nodes.map((node, index) => {
    const kind = node.entry ? (isModule(node.entry) ? "module" : "row") : "outside";
    const rect = drawing("rect", { x: node.x - node.width / 2, y: node.y - node.height / 2, width: node.width, height: node.height, rx: kind === "module" ? 9 : 0 });
    const made = drawing("g", { class: `node ${kind}`, tabindex: index ? -1 : 0, role: "button", "data-key": node.key, "aria-label": node.lines.join(", ") }, rect, ...lines(node.lines, node.x, node.y, true));
    const entry = node.entry ?? node.leads;
    made.addEventListener("click", () => select(entry));
    made.addEventListener("dblclick", () => enter(entry));
    made.addEventListener("keydown", (event) => walk(event, node, nodes, links));
    return made;
  });
  const svg = drawing("svg", { width: width * zoom, height: height * zoom, viewBox: `${left} ${top} ${width} ${height}`, role: "group", "aria-label": "Graph of layers" }, drawing("defs", {}, arrow), ...paths, ...labels, ...boxes);
  svg.dataset.width = width; svg.dataset.height = height;
  return svg;
}

// Keys on the graph: along the edges, sideways among what has the same source or the same target, in and out.
function walk(event, node, nodes, links) {
  const byKey = new Map(nodes.map((one) => [one.key, one]));
  const ends = (side, other, key) => links.filter((link) => link[side] === key).map((link) => byKey.get(link[other]));
  const beside = () => {
    const sources = ends("w", "v", node.key).flatMap((one) => ends("v", "w", one.key));
    const targets = ends("v", "w", node.key).flatMap((one) => ends("w", "v", one.key));
    return [...new Set([node, ...sources, ...targets])].sort((a, b) => a.x - b.x);
  };
  const step = (by) => { const row = beside(); return row[row.indexOf(node) + by]; };
  const entry = node.entry ?? node.leads;
  const moves = {
    ArrowDown: () => focusNode(ends("v", "w", node.key)[0]), ArrowUp: () => focusNode(ends("w", "v", node.key)[0]),
    ArrowRight: () => focusNode(step(1)), ArrowLeft: () => focusNode(step(-1)),
    " ": () => { select(entry); focusChosen(); },
    Enter: () => { if (entry && isModule(entry) && node.entry) { enter(entry); focusNode(); } else { select(entry); focusChosen(); } },
    Escape: () => { leave(); focusChosen(); },
  };
  if (moves[event.key]) { event.preventDefault(); moves[event.key](); }
}

function focusNode(node = null, chosen = null) {
  const all = [...document.querySelectorAll("#graph .node")];
  const made = node ? all.find((one) => one.dataset.key === node.key) : chosen ?? all[0];
  if (!made) return;
  for (const one of all) one.setAttribute("tabindex", one === made ? 0 : -1);
  made.focus();
  const entry = node?.entry;
  if (entry) select(entry);
}

// Where a selection had the graph drawn anew, go on from what is selected.
function focusChosen() {
  if (document.getElementById("graph").contains(document.activeElement)) return;
  focusNode(null, document.querySelector("#graph .node.chosen"));
}

// Show what is selected, in its part.
function markGraph() {
  if (toPart()) drawGraph(); else markNodes();
}

function markNodes() {
  const keys = new Set();
  for (let at = inModel(state.selected, graphModel()); at; at = holderOf(at)) keys.add(at.key);
  let chosen = null;
  for (const node of document.querySelectorAll("#graph .node")) {
    const is = keys.has(node.dataset.key);
    node.classList.toggle("chosen", is);
    node.setAttribute("aria-pressed", is);
    if (is) chosen = node;
  }
  chosen ??= document.querySelector("#graph .node");
  if (chosen && chosen !== document.activeElement) {
    const box = document.getElementById("graph"), [inner, outer] = [chosen.getBoundingClientRect(), box.getBoundingClientRect()];
    box.scrollBy(inner.x + inner.width / 2 - outer.x - outer.width / 2, inner.y + inner.height / 2 - outer.y - outer.height / 2);
  }
}

// On paper the graph is as many pictures as it takes pages: a picture that is longer than a page leaves the one before it empty, and is cut
// through layers. Pages are 1.3 times as high as wide at least, and the first has the heading.
function partGraph() {
  const svg = document.querySelector("#graph svg");
  if (!svg) return;
  const { x: left, y: top, width, height } = svg.viewBox.baseVal, bottom = top + height, most = 1.1 * Math.max(width, 700);
  const ends = [...svg.querySelectorAll(".node rect")].map((rect) => rect.getBBox()).map(({ y, height }) => [y, y + height]);
  const made = [];
  for (let from = top; from < bottom;) {
    let to = from + most >= bottom ? bottom : from + most;
    const through = () => ends.filter(([above, below]) => above < to && to < below).map(([above]) => above - 4);
    for (let cut = through(); cut.length && Math.min(...cut) > from + most / 2; cut = through()) to = Math.min(...cut);
    const picture = svg.cloneNode(true);
    picture.setAttribute("viewBox", `${left} ${from} ${width} ${to - from}`);
    picture.setAttribute("width", width);
    picture.setAttribute("height", to - from);
    made.push(picture);
    from = to;
  }
  document.getElementById("graph").replaceChildren(...made);
}

function zoomGraph(factor) {
  zoom = Math.min(3, Math.max(0.2, zoom * factor));
  const svg = document.querySelector("#graph svg");
  svg?.setAttribute("width", svg.dataset.width * zoom);
  svg?.setAttribute("height", svg.dataset.height * zoom);
}
