// The graph of the module that is open: what is in it, with the tensors between, placed by dagre.

const LETTER = 7.3, LINE = 15, MOST_NODES = 700; // px of a letter and of a line; more nodes take seconds to place
let zoom = 1;

function lengthOf(text) { return text.length * LETTER; }

// The nodes and edges of a module: its modules as one node each, or every layer within it.
function graphOf(module, every) {
  const { model } = module, rows = rowsOf(module), inside = new Set(rows), nodes = new Map(), edges = new Map();
  const nodeOf = (row) => {
    if (every || row.home === module) return row;
    let at = row.home;
    while (at.holder !== module) at = at.holder;
    return at;
  };
  const add = (key, node) => { if (!nodes.has(key)) nodes.set(key, { key, ...node }); return key; };
  const link = (from, to, name) => {
    if (from === to) return;
    const key = `${from}\n${to}`;
    if (!edges.has(key)) edges.set(key, { from, to, names: new Set() });
    edges.get(key).names.add(name);
  };
  const own = (row) => { const entry = nodeOf(row); return add(entry.key, { entry }); };
  rows.forEach(own);
  const outputs = new Set(model.facts.outputs);
  for (const row of rows) {
    for (const name of row.inputs) {
      const maker = model.producers.get(name);
      link(maker && inside.has(maker) ? own(maker) : add(`in:${name}`, { outside: maker ? `from ${nameOf(maker)}` : model.facts.inputs.includes(name) ? `input ${name}` : name, leads: maker }), own(row), name);
    }
  }
  const taken = new Map();
  for (const row of model.rows) if (!inside.has(row)) for (const name of row.inputs) taken.set(name, row);
  for (const row of rows) for (const name of row.outputs) {
    if (outputs.has(name)) link(own(row), add(`out:${name}`, { outside: `output ${name}` }), name);
    else if (taken.has(name)) link(own(row), add(`out:${name}`, { outside: `to ${nameOf(taken.get(name))}`, leads: taken.get(name) }), name);
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

function linesOf(node) {
  if (!node.entry) return [node.outside];
  const { entry } = node, cost = total(entry, state.size).sum ? SIZES[state.size].text(total(entry, state.size).sum) : "";
  const kind = isModule(entry) ? `${entry.kind || "module"}, ${layerCount(rowsOf(entry).length)}` : entry.kind;
  const several = !isModule(entry) && entry.modules.length > 1 ? [`fused of ${entry.modules.length} modules`] : [];
  return [shorten(nameOf(entry)), [kind, precision(entry) === "none" ? "" : precision(entry), cost].filter(Boolean).join(" "), ...several];
}

const shorten = (text) => (text.length > 42 ? `${text.slice(0, 20)}…${text.slice(-20)}` : text);

function textsOf(edge, model) {
  const texts = [...edge.names].map((name) => shapeText(model.tensors.get(name)));
  return texts.length > 2 ? [...texts.slice(0, 2), `and ${texts.length - 2} more`] : texts;
}

function drawGraph() {
  const box = document.getElementById("graph"), title = document.getElementById("graph-title");
  const model = models[Number(document.getElementById("graph-side").value || 0)], module = openModule(model);
  title.textContent = `Graph of ${nameOf(module)}`;
  const { nodes, edges } = graphOf(module, document.getElementById("every").checked);
  if (!nodes.length || nodes.length > MOST_NODES) {
    box.replaceChildren(element("p", { class: "hint" }, nodes.length ? `${nodes.length} layers are too many for one graph: open a module of it.` : "There are no layers to show."));
    return;
  }
  for (const node of nodes) {
    node.lines = linesOf(node);
    Object.assign(node, { v: node.key, width: Math.max(...node.lines.map(lengthOf)) + 18, height: node.lines.length * LINE + 12 });
  }
  const links = edges.map((edge) => {
    const lines = textsOf(edge, model);
    return { v: edge.from, w: edge.to, lines, minlen: 1, weight: 1, width: Math.max(...lines.map(lengthOf)) + 8, height: lines.length * LINE, labeloffset: 4, labelpos: "r" };
  });
  const placed = nodes.map(({ v, width, height }) => ({ v, width, height }));
  dagre.layout(placed, links, { nodesep: 24, ranksep: 30, ...(nodes.length > 200 ? { ranker: "longest-path" } : {}) }, {});
  nodes.forEach((node, index) => Object.assign(node, { x: placed[index].x, y: placed[index].y }));
  box.replaceChildren(pictureOf(nodes, links, model));
  markGraph();
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
    " ": () => select(entry),
    Enter: () => { if (entry && isModule(entry) && node.entry) { enter(entry); focusNode(); } else select(entry); },
    Escape: () => { leave(); focusNode(); },
  };
  if (moves[event.key]) { event.preventDefault(); moves[event.key](); }
}

function focusNode(node) {
  const all = [...document.querySelectorAll("#graph .node")];
  const made = node ? all.find((one) => one.dataset.key === node.key) : all[0];
  if (!made) return;
  for (const one of all) one.setAttribute("tabindex", one === made ? 0 : -1);
  made.focus();
  const entry = node?.entry;
  if (entry) select(entry);
}

function markGraph() {
  const side = models[Number(document.getElementById("graph-side").value || 0)];
  const entry = inModel(state.selected, side), keys = new Set();
  for (let at = entry; at; at = holderOf(at)) keys.add(at.key);
  let chosen = null;
  for (const node of document.querySelectorAll("#graph .node")) {
    const is = keys.has(node.dataset.key);
    node.classList.toggle("chosen", is);
    node.setAttribute("aria-pressed", is);
    if (is) chosen = node;
  }
  if (chosen && chosen !== document.activeElement) {
    const box = document.getElementById("graph"), [inner, outer] = [chosen.getBoundingClientRect(), box.getBoundingClientRect()];
    box.scrollBy(inner.x + inner.width / 2 - outer.x - outer.width / 2, inner.y + inner.height / 2 - outer.y - outer.height / 2);
  }
}

function zoomGraph(factor) {
  zoom = Math.min(3, Math.max(0.2, zoom * factor));
  const svg = document.querySelector("#graph svg");
  svg?.setAttribute("width", svg.dataset.width * zoom);
  svg?.setAttribute("height", svg.dataset.height * zoom);
}
