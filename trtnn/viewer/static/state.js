// What is selected, open and chosen; whoever shows some of it is told what changed.

const state = { selected: null, open: "", size: "", color: "", depth: 2 };
const watchers = [];
let models = [];

function change(values) {
  const changed = new Set(Object.keys(values).filter((name) => state[name] !== values[name]));
  Object.assign(state, values);
  if (changed.size) for (const watcher of watchers) watcher(changed);
}

// An entry of one model as it is in another: the module of the same path, or none.
function inModel(entry, model) {
  if (!entry || entry.model === model) return entry;
  return model.modules.get(pathOf(entry)) ?? null;
}

// The module of a model that is open, or null where it has none of that path.
function openModule(model) {
  let module = model.modules.get(state.open) ?? null;
  while (module?.children.length === 1 && !module.rows.length) [module] = module.children; // what holds one thing alone
  return module;
}

// The one that is open, of the first model that has it.
const firstOpen = () => models.map(openModule).find(Boolean);

// Select an entry; where it is not within the module that is open, the one that holds it is opened.
function select(entry) {
  if (!entry) return;
  const path = pathOf(entry);
  const isWithin = state.open === "" || path === state.open || path.startsWith(`${state.open}.`);
  change({ selected: entry, ...(isWithin ? {} : { open: holderOf(entry)?.path ?? "" }) });
  const share = total(entry, state.size), whole = total(entry.model.root, state.size);
  const part = whole.sum && !share.unknown && !whole.unknown ? `, ${percent(share.sum / whole.sum)}` : "";
  document.getElementById("said").textContent =
    `${nameOf(entry)}, ${entry.kind}, ${SIZES[state.size].label} ${totalText(entry, state.size)}${part}, ${precisionText(entry)}`;
}

// Open a module, or the one that holds an entry which is none.
function enter(entry) {
  if (!entry) return;
  change({ open: isModule(entry) ? entry.path : holderOf(entry).path, selected: entry });
}

function leave() {
  const module = firstOpen();
  let holder = module.holder;
  while (holder?.holder && holder.children.length === 1 && !holder.rows.length) holder = holder.holder;
  if (state.open !== "" && holder) change({ open: holder.path, selected: module });
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A view of Vega's in an element of its own, which it gives a role and a name that are not ours.
function viewIn(box, spec) {
  const inner = element("div", { "aria-hidden": "true" });
  box.append(inner);
  const config = { aria: false, text: { font: "system-ui, sans-serif" } };
  return new vega.View(vega.parse({ background: "transparent", ...spec }, config), { renderer: "svg", container: inner }).run();
}

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
