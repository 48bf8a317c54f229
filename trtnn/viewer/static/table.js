// The table of rows: sorted by any column, filtered by words.

const sorted = { column: "position", falls: false };

function columns(model) {
  const measured = Object.entries(SIZES).filter(([name]) => isMeasured(model, name));
  return [
    { key: "position", label: "#", number: true, value: (row) => row.position + 1 },
    { key: "module", label: "Module", value: pathOf, text: (row) => (row.modules.length > 1 ? row.modules.map((path) => path || "(forward)").join(" + ") : pathOf(row) || "(forward)") },
    { key: "kind", label: "Layer", value: (row) => row.kind },
    { key: "shape", label: "Output", value: (row) => shapeText(model.tensors.get(row.outputs[0])) },
    { key: "precision", label: "Precision", value: (row) => (precisionOf(row) === "none" ? "" : precisionOf(row)) },
    ...measured.map(([key, { label, text }]) => ({ key, label, number: true, value: (row) => row[key], text: (row) => (row[key] == null ? "unknown" : text(row[key])) })),
    ...(isMeasured(model, "milliseconds") ? [{ key: "share", label: "Share", number: true, value: (row) => row.share, text: (row) => (row.share == null ? "" : percent(row.share)) }] : []),
    { key: "intensity", label: "FLOPs/B", number: true, value: intensity, text: (row) => (intensity(row) === null ? "" : figure(intensity(row))) },
    ...model.errors.map((name) => ({ key: `error:${name}`, label: `Error of ${name}`, number: true, value: (row) => worst(row, name), text: (row) => (worst(row, name) === null ? "" : error(worst(row, name))) })),
  ];
}

const tableModel = () => models[Number(document.getElementById("table-side").value || 0)];
const textOf = (column, row) => String((column.text ?? column.value)(row) ?? "");

function drawTable() {
  const table = document.getElementById("table"), model = tableModel(), all = columns(model);
  const head = element("tr", {}, ...all.map((column) => element("th", {
    scope: "col", class: column.number ? "number" : null,
    "aria-sort": column.key !== sorted.column ? "none" : sorted.falls ? "descending" : "ascending",
  }, element("button", { type: "button", onclick: () => sortBy(column) }, `${column.label}${column.key !== sorted.column ? "" : sorted.falls ? " ▼" : " ▲"}`))));
  const rows = model.rows.map((row) => {
    const cellsOf = all.map((column) => element("td", { class: column.number ? "number" : column.key === "module" ? "long" : null }, textOf(column, row)));
    row.line_ = element("tr", { "data-key": row.key, tabindex: -1, onclick: () => select(row), onkeydown: (event) => stepRows(event, row) }, ...cellsOf);
    row.words = [row.name, ...row.modules, ...cellsOf.map((cell) => cell.textContent)].join(" ").toLowerCase();
    return row.line_;
  });
  table.replaceChildren(element("caption", { class: "unseen" }, `Layers of ${model.title}`), element("thead", {}, head), element("tbody", {}, ...rows));
  arrange();
}

function sortBy(column) {
  sorted.falls = sorted.column === column.key ? !sorted.falls : Boolean(column.number) && column.key !== "position";
  sorted.column = column.key;
  drawTable();
  document.querySelector(`#table th[aria-sort]:not([aria-sort="none"]) button`)?.focus();
}

// Put the rows in order, and hide those that lack a word of the filter.
function arrange() {
  const model = tableModel(), column = columns(model).find((one) => one.key === sorted.column) ?? columns(model)[0];
  const order = (a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (x == null || y == null) return (x == null) - (y == null); // what is unknown comes last either way
    return (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true })) * (sorted.falls ? -1 : 1);
  };
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const within = document.getElementById("inside").checked ? new Set(rowsOf(openModule(model))) : null;
  const body = document.querySelector("#table tbody");
  let count = 0;
  for (const row of [...model.rows].sort(order)) {
    const is = words.every((word) => row.words.includes(word)) && (!within || within.has(row));
    row.line_.hidden = !is;
    count += is;
    body.append(row.line_);
  }
  document.getElementById("count").textContent = `${count} of ${model.rows.length} layers`;
  markTable();
}

const visibleRows = () => [...document.querySelectorAll("#table tbody tr:not([hidden])")];

function stepRows(event, row) {
  const lines = visibleRows(), at = lines.indexOf(row.line_);
  const to = { ArrowDown: lines[at + 1], ArrowUp: lines[at - 1], Home: lines[0], End: lines.at(-1), Enter: row.line_, " ": row.line_ }[event.key];
  if (!to) return;
  event.preventDefault();
  to.focus();
  select(tableModel().byKey.get(to.dataset.key));
}

// Mark what is selected: a row, or all rows of a module.
function markTable() {
  const entry = inModel(state.selected, tableModel()), chosen = new Set(entry ? rowsOf(entry) : []);
  let first = null;
  for (const row of tableModel().rows) {
    row.line_.setAttribute("aria-selected", chosen.has(row));
    row.line_.setAttribute("tabindex", -1);
  }
  const lines = visibleRows();
  first = lines.find((line) => line.getAttribute("aria-selected") === "true");
  (first ?? lines[0])?.setAttribute("tabindex", 0);
  if (first && !first.contains(document.activeElement)) {
    const box = document.querySelector("#tables .scrolls");
    box.scrollTop = first.offsetTop - box.clientHeight / 3;
  }
}
