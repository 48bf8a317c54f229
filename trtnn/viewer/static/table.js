// The table of rows: sorted by any column, filtered by words. Of thousands of lines those in sight are in the page.

const LINE_HEIGHT = 25, BEYOND = 15; // px of a line, as page.css has it; lines that are drawn above what is in sight
let isPrinting = false;
const sorted = { column: "position", falls: false };
const inOrder = new Intl.Collator("en", { numeric: true });
let shown = { columns: [], lines: [], at: new Map(), chosen: new Set(), active: null }; // lines: the rows in order, without what is filtered

function columns(model) {
  const measured = Object.entries(SIZES).filter(([name]) => isMeasured(model, name));
  return [
    { key: "position", label: "#", number: true, value: (row) => row.position + 1 },
    { key: "module", label: "Module", widest: 44, value: pathOf, text: (row) => (row.modules.length > 1 ? row.modules.map((path) => path || "(forward)").join(" + ") : pathOf(row) || "(forward)") },
    { key: "kind", label: "Layer", widest: 26, value: (row) => row.kind },
    { key: "shape", label: "Output", widest: 34, value: (row) => shapeText(model.tensors.get(row.outputs[0])) },
    { key: "precision", label: "Precision", widest: 15, value: (row) => (precisionOf(row) === "none" ? "" : precisionOf(row)) },
    ...measured.map(([key, { label, text }]) => ({ key, label, number: true, value: (row) => row[key], text: (row) => (row[key] == null ? "unknown" : text(row[key])) })),
    ...(isMeasured(model, "milliseconds") ? [{ key: "share", label: "Share", number: true, value: (row) => row.share, text: (row) => (row.share == null ? "" : percent(row.share)) }] : []),
    { key: "intensity", label: "FLOPs/B", number: true, value: intensity, text: (row) => (intensity(row) === null ? "" : figure(intensity(row))) },
    ...model.errors.map((name) => ({ key: `error:${name}`, label: `Error of ${name}`, number: true, value: (row) => worst(row, name), text: (row) => (worst(row, name) === null ? "" : error(worst(row, name))) })),
  ];
}

const tableModel = () => models[Number(document.getElementById("table-side").value || 0)];
const textOf = (column, row) => String((column.text ?? column.value)(row) ?? "");

// All that the filter looks at in a row.
function wordsOf(row) {
  row.words ??= [row.name, ...row.modules, ...shown.columns.map((column) => textOf(column, row))].join(" ").toLowerCase();
  return row.words;
}

// The width of a column in letters: of what is in it, of which most are as long as numbers are.
function widthOf(column, rows) {
  const longest = column.widest ? rows.reduce((most, row) => Math.max(most, textOf(column, row).length), 0) : 9;
  return Math.min(Math.max(longest, column.key === "position" ? 5 : column.label.length + 2), column.widest ?? 30);
}

function drawTable() {
  const table = document.getElementById("table"), model = tableModel();
  shown.columns = columns(model);
  const head = element("tr", {}, ...shown.columns.map((column) => element("th", {
    scope: "col", class: column.number ? "number" : null,
    "aria-sort": column.key !== sorted.column ? "none" : sorted.falls ? "descending" : "ascending",
  }, element("button", { type: "button", onclick: () => sortBy(column) }, `${column.label}${column.key !== sorted.column ? "" : sorted.falls ? " ▼" : " ▲"}`))));
  const letters = shown.columns.map((column) => widthOf(column, model.rows)), sum = letters.reduce((a, b) => a + b, 0);
  const widths = letters.map((count, index) => element("col", { style: shown.columns[index].key === "module" ? null : `width: calc(${count}ch + 16px)` })); // the module's is what is left
  table.style.minWidth = `calc(${sum}ch + ${16 * letters.length}px)`;
  table.replaceChildren(element("caption", { class: "unseen" }, `Layers of ${model.title}`), element("colgroup", {}, ...widths), element("thead", {}, head), element("tbody"));
  arrange();
}

function sortBy(column) {
  sorted.falls = sorted.column === column.key ? !sorted.falls : Boolean(column.number) && column.key !== "position";
  sorted.column = column.key;
  drawTable();
  document.querySelector(`#table th[aria-sort]:not([aria-sort="none"]) button`)?.focus();
}

// Put the rows in order, without those that lack a word of the filter.
function arrange() {
  const model = tableModel(), column = shown.columns.find((one) => one.key === sorted.column) ?? shown.columns[0];
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const open = openModule(model), within = document.getElementById("inside").checked ? new Set(open ? rowsOf(open) : []) : null;
  const rows = model.rows.filter((row) => (!within || within.has(row)) && words.every((word) => wordsOf(row).includes(word)));
  const values = new Map(rows.map((row) => [row, column.value(row)]));
  rows.sort((a, b) => {
    const [x, y] = [values.get(a), values.get(b)];
    if (x == null || y == null) return (x == null) - (y == null); // what is unknown comes last either way
    return (typeof x === "number" ? x - y : inOrder.compare(x, y)) * (sorted.falls ? -1 : 1);
  });
  shown.lines = rows;
  shown.at = new Map(rows.map((row, index) => [row, index]));
  document.getElementById("count").textContent = isKnown(model) ? `${rows.length} of ${layerCount(model.rows.length)}` : "layers unknown";
  document.getElementById("table").setAttribute("aria-rowcount", rows.length + 1);
  drawLines();
  markTable();
}

// The box that scrolls, and the height of the head, which stays in it.
const tableBox = () => document.querySelector("#tables .scrolls");
const headHeight = () => document.querySelector("#table thead").offsetHeight;

// Draw the lines in sight, and the one that Tab goes to wherever it is; of all others their height. On paper all are in sight.
function drawLines() {
  const box = tableBox(), body = document.querySelector("#table tbody"), { lines } = shown;
  const first = isPrinting ? 0 : Math.max(0, Math.floor(box.scrollTop / LINE_HEIGHT) - BEYOND);
  const last = isPrinting ? lines.length : Math.min(lines.length, Math.ceil((box.scrollTop + innerHeight) / LINE_HEIGHT)); // the box is lower than the window
  const drawn = new Set(Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index));
  if (shown.at.has(shown.active)) drawn.add(shown.at.get(shown.active));
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const made = [];
  let next = 0;
  const gap = (to) => { if (to > next) made.push(element("tr", { class: "gap", "aria-hidden": "true", style: `height: ${(to - next) * LINE_HEIGHT}px` })); };
  for (const index of [...drawn].sort((a, b) => a - b)) {
    gap(index);
    made.push(lineOf(lines[index], index));
    next = index + 1;
  }
  gap(lines.length);
  body.replaceChildren(...made);
  if (focused !== null) lineIn(focused)?.focus({ preventScroll: true });
}

// A path without its middle: its end tells it from others.
const inTheMiddle = (text, most) => `${text.slice(0, Math.floor(most / 4))}…${text.slice(-Math.floor(most * 0.7))}`;

function lineOf(row, index) {
  const cells = shown.columns.map((column) => {
    const text = textOf(column, row), fits = column.number || text.length <= column.widest;
    return element("td", { class: column.number ? "number" : null, title: fits ? null : text }, fits || column.key !== "module" ? text : inTheMiddle(text, column.widest));
  });
  return element("tr", {
    "data-key": row.key, tabindex: row === shown.active ? 0 : -1, "aria-selected": String(shown.chosen.has(row)), "aria-rowindex": index + 2,
    onclick: () => { shown.active = row; select(row); }, onkeydown: (event) => stepRows(event, index),
  }, ...cells);
}

const lineIn = (key) => [...document.querySelectorAll("#table tbody tr")].find((line) => line.dataset.key === key);

function stepRows(event, index) {
  const last = shown.lines.length - 1;
  const to = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: Math.min(index + 20, last), PageUp: Math.max(index - 20, 0), Home: 0, End: last, Enter: index, " ": index }[event.key];
  const row = shown.lines[to];
  if (!row) return;
  event.preventDefault();
  select(row);
  toLine(row);
  lineIn(row.key).focus({ preventScroll: true });
}

// Bring a row into sight, and Tab to it.
function toLine(row, place = null) {
  const box = tableBox(), top = shown.at.get(row) * LINE_HEIGHT, room = box.clientHeight - headHeight();
  shown.active = row;
  if (place !== null) box.scrollTop = top - room * place;
  else box.scrollTop = Math.min(top, Math.max(box.scrollTop, top + LINE_HEIGHT - room));
  drawLines();
}

// Mark what is selected: a row, or all rows of a module.
function markTable() {
  const model = tableModel(), entry = inModel(state.selected, model);
  shown.chosen = new Set(entry ? rowsOf(entry) : []);
  const first = shown.lines.find((row) => shown.chosen.has(row));
  const isIn = document.querySelector("#table tbody").contains(document.activeElement);
  if (first && !isIn) { toLine(first, 1 / 3); return; }
  if (!shown.at.has(shown.active)) shown.active = shown.lines[0] ?? null;
  drawLines();
}

function watchTable() {
  tableBox().addEventListener("scroll", () => drawLines());
  addEventListener("resize", () => drawLines());
}
