// Two side by side: where their measures part, module by module.

function differences() {
  const [a, b] = models, depth = firstOpen().path.split(".").filter(Boolean).length + state.depth;
  const cut = (path) => path.split(".").slice(0, depth).join(".");
  const sums = new Map(), rowsIn = (model) => { const open = model.modules.get(state.open); return open ? rowsOf(open) : []; };
  const pathsOf = (row) => (row.modules.length > 1 ? row.modules : [pathOf(row)]).map(cut);
  const groups = togetherIn([...rowsIn(a), ...rowsIn(b)].map(pathsOf));
  const add = (model, index) => {
    for (const row of rowsIn(model)) {
      const paths = groups.get(pathsOf(row)[0]), key = paths[0];
      if (!sums.has(key)) sums.set(key, { path: commonOf(paths), paths, values: [0, 0], unknown: [0, 0], has: [false, false] });
      const sum = sums.get(key);
      sum.values[index] += row[state.size] ?? 0;
      sum.unknown[index] += row[state.size] == null ? 1 : 0;
      sum.has[index] = true;
    }
  };
  add(a, 0); add(b, 1);
  [a, b].forEach((model, index) => { // of what nobody knows nothing is said to be missing
    if (!isKnown(model)) for (const sum of sums.values()) [sum.has[index], sum.unknown[index]] = [true, 1];
    const inside = new Set(rowsIn(model)); // what is fused with others outside is there as well
    for (const path of model.rows.filter((row) => !inside.has(row)).flatMap((row) => row.modules)) {
      const sum = sums.get(groups.get(cut(path))?.[0]);
      if (sum) [sum.has[index], sum.unknown[index]] = [true, 1];
    }
  });
  const holders = new Set([...groups.keys()].flatMap((path) => path.split(".").map((_, index, parts) => parts.slice(0, index).join("."))));
  const labelled = (path) => (path === "" ? "(forward)" : holders.has(path) ? `${path}, its own layers` : path); // others have a line each
  return [...sums.values()].map((sum) => ({ ...sum, label: joined(sum.paths.map(labelled)), difference: sum.unknown[0] || sum.unknown[1] ? null : sum.values[1] - sum.values[0] }))
    .sort((x, y) => Math.abs(y.difference ?? 0) - Math.abs(x.difference ?? 0));
}

// Of what is fused in one of the two only the sum can be compared: for each path those that it is one line with.
function togetherIn(all) {
  const groups = new Map();
  for (const paths of all) {
    const merged = [...new Set(paths.flatMap((path) => groups.get(path) ?? [path]))];
    if (merged.some((path) => groups.get(path)?.length !== merged.length)) for (const path of merged) groups.set(path, merged);
  }
  return groups;
}

// The innermost module that holds all of these.
function commonOf(paths) {
  const parts = paths.map((path) => path.split("."));
  const first = parts[0].findIndex((part, index) => parts.some((other) => other[index] !== part));
  return first < 0 ? paths[0] : parts[0].slice(0, first).join(".");
}

const joined = (names) => (names.length > 3 ? `${names.slice(0, 2).join(" + ")} + ${names.length - 2} more` : names.join(" + "));

function signed(value, text) { return value > 0 ? `+${text(value)}` : value < 0 ? `−${text(-value)}` : text(0); }

function drawDifference() {
  document.getElementById("difference").hidden = models.length < 2;
  if (models.length < 2) return;
  const { label, text } = SIZES[state.size], all = differences();
  const head = ["Module", `A: ${models[0].title}`, `B: ${models[1].title}`, "B − A", "B / A"];
  const shownAs = (one, index) => (!one.has[index] ? "not there" : one.unknown[index] ? "unknown" : text(one.values[index]));
  const pick = (path) => select(models[0].modules.get(path) ?? models[1].modules.get(path));
  const rows = all.map((one) => element("tr", { "data-path": one.path, onclick: () => pick(one.path) },
    element("td", {}, element("button", { type: "button", onclick: (event) => { event.stopPropagation(); pick(one.path); } }, one.label)),
    ...[shownAs(one, 0), shownAs(one, 1), one.difference === null ? "unknown" : signed(one.difference, text), one.difference === null || !one.values[0] ? "" : figure(one.values[1] / one.values[0])].map((cell) => element("td", { class: "number" }, cell))));
  document.getElementById("difference-table").replaceChildren(
    element("caption", {}, `${label}: A ${totalText(models[0].root, state.size)}, B ${totalText(models[1].root, state.size)}`),
    element("thead", {}, element("tr", {}, ...head.map((cell, index) => element("th", { scope: "col", class: index ? "number" : null }, cell)))), element("tbody", {}, ...rows));
  const isUnknown = all.some((one) => one.difference === null) || !models.every(isKnown);
  drawDifferenceChart(all.filter((one) => one.difference).slice(0, 12), label, `No ${isUnknown ? "known " : ""}${label} parts them.`);
}

function drawDifferenceChart(rows, label, none) {
  const box = document.getElementById("difference-chart");
  box.replaceChildren();
  if (!rows.length) { box.append(element("p", { class: "hint" }, none)); return; }
  const values = rows.map((one) => ({ path: one.label, key: one.path, difference: one.difference, more: one.difference > 0 }));
  const axis = { labelColor: ink("ink"), domainColor: ink("line"), tickColor: ink("line"), titleColor: ink("ink"), labelLimit: 150 };
  const view = viewIn(box, {
    width: Math.max(120, Math.min(520, box.clientWidth - 170)), height: values.length * 20, padding: 4,
    data: [{ name: "rows", values }],
    scales: [{ name: "x", type: "linear", domain: { data: "rows", field: "difference" }, range: "width", zero: true, nice: true }, { name: "y", type: "band", domain: { data: "rows", field: "path" }, range: "height", padding: 0.2 }],
    axes: [{ orient: "bottom", scale: "x", title: `B − A: ${label}${state.size === "milliseconds" ? " in ms" : ""}`, tickCount: 4, format: state.size === "milliseconds" ? ".2~r" : ".2~s", ...axis }, { orient: "left", scale: "y", ...axis }],
    marks: [{ type: "rect", from: { data: "rows" }, encode: { enter: {
      y: { scale: "y", field: "path" }, height: { scale: "y", band: 1 }, x: { scale: "x", field: "difference" }, x2: { scale: "x", value: 0 },
      fill: [{ test: "datum.more", value: ink("accent") }, { value: ink("mark") }], tooltip: { field: "path" } } } }],
  });
  view.addEventListener("click", (event, item) => { if (item?.datum?.key !== undefined) select(models[0].modules.get(item.datum.key) ?? models[1].modules.get(item.datum.key)); });
}
