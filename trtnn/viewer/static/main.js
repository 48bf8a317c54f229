// The page put together: its controls, and what is drawn again when something changes.

// Names with what is said of each, side by side as far as there is room.
function wideList(entries) {
  return element("dl", {}, ...entries.filter(([, value]) => value).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function drawAbout() {
  document.getElementById("about").replaceChildren(...models.map((model, index) => {
    const { facts } = model, named = (names) => names.map((name) => `${name}: ${shapeText(model.tensors.get(name))}`).join("; ");
    const profiles = facts.profiles.map((profile, number) => [`Profile ${number}`, Object.entries(profile).map(([name, range]) => `${name}: ${range}`).join("; ")]);
    const roof = facts.roofline ? [["GPU", `${facts.roofline.name}: ${Object.entries(facts.roofline.flops_per_second).map(([name, value]) => `${name} ${counted(value)}FLOP/s`).join(", ")}, memory ${bytes(facts.roofline.bytes_per_second)}/s`]] : [];
    const notes = facts.notes.length ? [element("div", { class: "notes", role: "note" }, ...facts.notes.map((note) => element("p", {}, note)))] : [];
    return element("div", {}, ...(models.length > 1 ? [element("h2", {}, `${"AB"[index]}: ${model.title}`)] : []),
      wideList([["What", facts.kind], ...Object.entries(facts.about), ["Layers", layersText(model.root, model)], ["Inputs", named(facts.inputs)], ["Outputs", named(facts.outputs)], ...profiles, ...roof]), ...notes);
  }));
}

function drawTrail() {
  const parts = firstOpen().path.split(".").filter(Boolean), trail = document.getElementById("trail");
  const steps = [["", models[0].title], ...parts.map((part, index) => [parts.slice(0, index + 1).join("."), part])];
  trail.replaceChildren(...steps.flatMap(([path, name], index) => [
    ...(index ? [element("span", { "aria-hidden": "true" }, "›")] : []),
    element("button", { type: "button", "aria-current": index === steps.length - 1 ? "location" : null, onclick: () => change({ open: path }) }, name),
  ]));
}

function options(select_, entries, chosen) {
  select_.replaceChildren(...entries.map(([value, label]) => element("option", { value, selected: value === chosen }, label)));
}

function setTheme() {
  const chosen = document.getElementById("theme").value;
  document.documentElement.dataset.theme = chosen || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function drawAll() {
  drawPatterns(); drawAbout(); drawTrail(); drawMaps(); drawDifference(); drawGraph(); drawDetails(); drawTable();
}

function start() {
  models = JSON.parse(document.getElementById("data").textContent).map((facts, index) => new Model(facts, index));
  document.body.classList.toggle("two", models.length > 1);
  const byId = (id) => document.getElementById(id);
  const sizes = Object.entries(SIZES).filter(([name]) => models.some((model) => isMeasured(model, name)));
  const kinds = Object.entries(colors(models));
  state.open = mostOf(models[0].root).path;
  const isSome = (name) => models.some((model) => total(model.root, name).sum);
  const isOfAll = (name) => models.every((model) => !isKnown(model) || total(model.root, name).sum);
  const first = ["milliseconds", "flops", "moved_bytes"];
  state.size = first.find((name) => isSome(name) && isOfAll(name)) ?? first.find(isSome) ?? sizes[0]?.[0] ?? "parameters";
  const isOf = (name) => kinds.some(([kind]) => kind === name), precisions = new Set(models.flatMap((model) => model.rows.map(precisionOf)));
  precisions.delete("none");
  state.color = isOf("milliseconds") ? "milliseconds" : precisions.size < 2 && isOf("intensity") && isSome("flops") ? "intensity" : "precision";
  byId("size").disabled = !sizes.length;
  options(byId("size"), sizes.map(([name, { label }]) => [name, label]), state.size);
  options(byId("color"), kinds.map(([name, { label }]) => [name, label]), state.color);
  options(byId("depth"), [["1", "1"], ["2", "2"], ["3", "3"], ["99", "all"]], String(state.depth));
  for (const side of ["graph", "table"]) {
    options(byId(`${side}-side`), models.map((model, index) => [String(index), `${"AB"[index]}: ${model.title}`]), "0");
    byId(`${side}-of`).hidden = models.length < 2;
  }
  byId("size").addEventListener("change", (event) => change({ size: event.target.value }));
  byId("color").addEventListener("change", (event) => change({ color: event.target.value }));
  byId("depth").addEventListener("change", (event) => change({ depth: Number(event.target.value) }));
  byId("theme").addEventListener("change", () => { setTheme(); drawAll(); });
  for (const name of ["every", "graph-side"]) byId(name).addEventListener("change", () => { part = 0; toPart(); drawGraph(); });
  byId("table-side").addEventListener("change", drawTable);
  byId("earlier").addEventListener("click", () => turnPart(-1));
  byId("later").addEventListener("click", () => turnPart(1));
  byId("smaller").addEventListener("click", () => zoomGraph(1 / 1.25));
  byId("larger").addEventListener("click", () => zoomGraph(1.25));
  byId("filter").addEventListener("input", arrange);
  byId("inside").addEventListener("change", arrange);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); byId("search").focus(); }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { setTheme(); drawAll(); });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawMaps(); drawDifference(); } });
  addEventListener("hashchange", fromHash);
  watchers.push((changed) => {
    const has = (...names) => names.some((name) => changed.has(name));
    if (has("open", "size", "color", "depth")) { drawTrail(); drawMaps(); drawDifference(); }
    else if (has("selected")) maps.forEach(mark);
    if (has("open")) { part = 0; toPart(); }
    if (has("open", "size")) drawGraph();
    else if (has("selected")) markGraph();
    if (has("selected", "size")) drawDetails();
    if (has("open") && byId("inside").checked) arrange();
    else if (has("selected")) markTable();
    if (has("selected") && state.selected) history.replaceState(null, "", addressOf(state.selected));
  });
  listen();
  watchTable();
  watchPrinting();
  setTheme();
  drawAll();
  fromHash();
}

// Paper is white, has all lines of the table, and the graph in parts.
function watchPrinting() {
  const root = document.documentElement;
  addEventListener("beforeprint", () => {
    isPrinting = true;
    if (root.dataset.theme === "dark") { root.dataset.theme = "light"; drawAll(); } else drawLines();
    partGraph();
  });
  addEventListener("afterprint", () => {
    const printed = root.dataset.theme;
    isPrinting = false;
    setTheme();
    if (root.dataset.theme !== printed) drawAll(); else { drawLines(); drawGraph(); }
  });
}

// The module that is open first: as deep as one holds nearly all, in each of what is shown.
function mostOf(module) {
  const holdsMost = (one) => models.every((model) => {
    const [own, whole] = [one, module].map(({ path }) => model.modules.get(path)).map((other) => (other ? rowsOf(other).length : 0));
    return own > 0.9 * whole;
  });
  const most = module.children.find(holdsMost);
  return most && most.children.length ? mostOf(most) : module;
}

// The address's last part names what is selected, so that a link leads to it: a module, or a layer, which may have its module's name.
// The whole of a network is named by its title, or where a module has that name by its key.
const LAYER = "layer:";
function addressOf(entry) {
  const isTaken = isModule(entry) && entry.path === "" && models.some((model) => model.modules.has(entry.model.title));
  return `#${encodeURIComponent(isTaken ? entry.key : isModule(entry) ? nameOf(entry) : LAYER + entry.name)}`;
}

function fromHash() {
  let name = location.hash.slice(1);
  try { name = decodeURIComponent(name); } catch { /* a % that stands for itself */ }
  for (const model of models) {
    const entry = model.modules.get(name) ?? (name === model.title ? model.root : model.rows.find((row) => [row.name, LAYER + row.name].includes(name)) ?? model.byKey.get(name));
    if (name && entry) { select(entry); return; }
  }
}

start();
