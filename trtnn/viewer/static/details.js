// All that is known of what is selected.

function pairs(entries) {
  return element("dl", {}, ...entries.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

const link = (entry, text) => element("button", { type: "button", onclick: () => select(entry) }, text);

function shares(entry) {
  const { model } = entry;
  return Object.entries(SIZES).filter(([name]) => isMeasured(model, name)).map(([name, { label }]) => {
    const [{ sum, unknown }, whole] = [total(entry, name), total(model.root, name)];
    return [label, totalText(entry, name) + (whole.sum && !unknown ? `, ${percent(sum / whole.sum)} of all${whole.unknown ? " that is known" : ""}` : "")];
  });
}

// What bounds a row or module on the GPU, by its intensity, and how much of the roof it reaches.
function bound(entry) {
  const own = intensity(entry), roof = entry.model.facts.roofline;
  if (own === null) return [];
  const peak = roof?.flops_per_second[precision(entry)];
  const lines = [["FLOPs per byte", figure(own)]];
  if (!peak) return lines;
  const { sum, unknown } = total(entry, "milliseconds");
  lines.push(["On this GPU", `${own < peak / roof.bytes_per_second ? "bound by memory" : "bound by arithmetic"}: the ridge is at ${figure(peak / roof.bytes_per_second)} FLOPs per byte`]);
  const least = Math.max(total(entry, "flops").sum / peak, total(entry, "moved_bytes").sum / roof.bytes_per_second);
  if (sum && !unknown) lines.push(["Of the roofline", `${figure((100 * 1000 * least) / sum)} %`]);
  return lines;
}

function shapesTable(model, row) {
  const names = [...row.inputs.map((name) => ["input", name]), ...row.outputs.map((name) => ["output", name])];
  if (!names.length) return null;
  const count = Math.max(1, ...names.map(([, name]) => model.tensors.get(name)?.ranges.length ?? 0));
  const isDynamic = names.some(([, name]) => model.tensors.get(name)?.ranges.length);
  const head = ["", "Tensor", "Shape", ...(isDynamic ? Array.from({ length: count }, (_, index) => ["min", "opt", "max"].map((end) => (count > 1 ? `${end} of profile ${index}` : end))).flat() : [])];
  const body = names.map(([side, name]) => {
    const tensor = model.tensors.get(name);
    const ranges = isDynamic ? Array.from({ length: count }, (_, index) => ["min", "opt", "max"].map((end) => tensor?.ranges[index]?.[end].join("×") ?? "")).flat() : [];
    return element("tr", {}, ...[side, name, shapeText(tensor), ...ranges].map((text) => element("td", {}, text)));
  });
  return element("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Tensors" }, element("table", {}, element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))), element("tbody", {}, ...body)));
}

function histogram(weight) {
  const step = (weight.largest - weight.least) / weight.counts.length;
  const values = weight.counts.map((count, index) => ({ from: weight.least + index * step, to: weight.least + (index + 1) * step, count }));
  const axis = { labelColor: ink("soft"), domainColor: ink("line"), tickColor: ink("line"), labelFontSize: 10, format: ".3~g" };
  const spec = {
    width: 240, height: 60, padding: 4, data: [{ name: "bins", values }],
    scales: [
      { name: "x", type: "linear", domain: [weight.least, weight.least + step * values.length], range: "width" },
      { name: "y", type: "linear", domain: { data: "bins", field: "count" }, range: "height", nice: true, zero: true },
    ],
    axes: [{ orient: "bottom", scale: "x", tickCount: 4, ...axis }, { orient: "left", scale: "y", tickCount: 2, ...axis, format: "~s" }],
    marks: [{ type: "rect", from: { data: "bins" }, encode: { enter: { x: { scale: "x", field: "from" }, x2: { scale: "x", field: "to" }, y: { scale: "y", field: "count" }, y2: { scale: "y", value: 0 }, fill: { value: ink("mark") } } } }],
  };
  const box = element("div", { class: "bins", role: "img", "aria-label": `Histogram of ${weight.name}: ${weight.counts.join(", ")}` });
  viewIn(box, spec);
  return box;
}

function rangeOf({ least, largest }) {
  if (least === null) return "no finite numbers";
  return least === largest ? `${figure(least)} alone` : `${figure(least)} to ${figure(largest)}`;
}

function weightParts(row) {
  return row.weights.flatMap((weight) => [
    element("h3", {}, weight.name),
    pairs([
      ["Shape", `${weight.shape.join("×") || "scalar"} ${weight.dtype}`],
      ["Range", rangeOf(weight)],
      ["Not finite", weight.not_finite ? String(weight.not_finite) : null],
    ]),
    ...(weight.counts.length ? [histogram(weight)] : []),
  ]);
}

function drawDetails() {
  const entry = state.selected, body = document.getElementById("details-body");
  document.getElementById("details").classList.toggle("nothing", !entry);
  document.getElementById("details-title").textContent = entry ? nameOf(entry) : "Nothing is selected";
  if (!entry) {
    body.replaceChildren(element("p", { class: "hint" }, "Click an area, a node or a line, or search."));
    return;
  }
  const { model } = entry, module = isModule(entry) ? entry : entry.home;
  const errors = model.errors.map((name) => [`Error of ${name}`, worst(entry, name) === null ? null : error(worst(entry, name)) + (isModule(entry) && entry.errors[name] === undefined ? ", the largest within" : "")]);
  const common = [...shares(entry), ...bound(entry), ...errors];
  if (isModule(entry)) {
    const holds = childrenOf(entry).map((child) => link(child, isModule(child) ? child.name : `${child.name}: ${child.kind}`));
    body.replaceChildren(
      pairs([["Module", entry.path || "(forward)"], ["Class", entry.kind], ["Defined at", entry.defined], ["Layers", layersText(entry, model)], ["Precision", precisionText(entry)], ...common]),
      element("p", {}, element("button", { type: "button", onclick: () => enter(entry) }, "Open it")),
      ...(holds.length ? [element("h3", {}, "It holds"), element("p", {}, ...holds.flatMap((one) => [one, " "]))] : [element("p", { class: "hint" }, !isKnown(model) ? "Layers cannot be shown here." : "It has no layers of its own: it was folded into another, or only passes on what it is given.")]),
    );
    return;
  }
  const from = entry.modules.map((path) => model.modules.get(path)).filter(Boolean);
  body.replaceChildren(
    pairs([
      ["Module", entry.module === null ? `${TENSORRT}: it belongs to none` : entry.module || "(forward)"], ["Class", module.kind], ["Line", entry.line],
      ["Layer", entry.kind], ["Precision asked", entry.asked], ["Precision built", entry.built],
      ...common, ...Object.entries(entry.details),
    ]),
    ...(from.length > 1 ? [element("h3", {}, `Fused of ${from.length} modules`), element("p", {}, ...from.flatMap((one) => [link(one, one.path || "(forward)"), " "]))] : []),
    ...(entry.layers.length > 1 ? [element("h3", {}, "Layers of the network in it"), element("p", {}, entry.layers.join(", "))] : []),
    ...[shapesTable(model, entry)].filter(Boolean).flatMap((made) => [element("h3", {}, "Shapes"), made]),
    ...weightParts(entry),
  );
}
