// What is shown, as a tree of modules with their rows, and what each of them costs.

const TENSORRT = "(TensorRT)"; // the place of rows that TensorRT added for itself

function number(value) {
  return typeof value === "string" ? { inf: Infinity, "-inf": -Infinity }[value] ?? NaN : value;
}

function scaled(value, unit, steps, base) {
  let step = 0;
  while (Math.abs(step ? value.toPrecision(3) : value) >= base && step < steps.length - 1) { value /= base; step += 1; }
  return `${step === 0 ? value : figure(value)} ${steps[step]}${unit}`.trim();
}

// Three digits; a number that has a few more is read more easily whole than with an exponent.
function figure(value) {
  if (!Number.isFinite(value)) return String(value);
  return Math.abs(value) >= 999.5 && Math.abs(value) < 1e6 ? String(Math.round(value)) : value.toPrecision(3);
}

const counted = (value) => scaled(value, "", ["", "k", "M", "G", "T", "P"], 1000);
const bytes = (value) => scaled(value, "B", ["", "k", "M", "G", "T"], 1000);
const milliseconds = (value) => `${figure(value)} ms`;
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const layerCount = (count) => `${count} layer${count === 1 ? "" : "s"}`;
const error = (value) => (!Number.isFinite(value) ? "infinite" : value ? value.toExponential(1) : "0");

// What a row or a module can be measured by; a sum is known where that of every row is.
const SIZES = {
  milliseconds: { label: "Time", text: milliseconds },
  flops: { label: "FLOPs", text: counted },
  parameters: { label: "Parameters", text: counted },
  activation_bytes: { label: "Activations", text: bytes },
  moved_bytes: { label: "Bytes moved", text: bytes },
};

class Model {
  constructor(facts, index) {
    Object.assign(this, { facts, index, title: facts.title, rows: [], modules: new Map() });
    this.tensors = new Map(facts.tensors.map((tensor) => [tensor.name, tensor]));
    this.said = new Map(facts.modules.map((module) => [module.path, module]));
    this.root = this.module("");
    for (const module of facts.modules) this.module(module.path);
    facts.rows.forEach((row, position) => {
      const home = this.module(row.module ?? TENSORRT);
      const entry = { ...row, key: `row:${position}`, position, home, model: this };
      this.rows.push(entry);
      home.rows.push(entry);
    });
    this.errors = [...new Set(facts.modules.flatMap((module) => Object.keys(module.errors)))];
    this.byKey = new Map([...[...this.modules.values()], ...this.rows].map((entry) => [entry.key, entry]));
    [this.producers, this.readers] = [new Map(), new Map()];
    for (const row of this.rows) {
      for (const name of row.outputs) this.producers.set(name, row);
      for (const name of new Set(row.inputs)) {
        if (!this.readers.has(name)) this.readers.set(name, []);
        this.readers.get(name).push(row);
      }
    }
  }

  module(path) {
    if (this.modules.has(path)) return this.modules.get(path);
    const holder = path === "" ? null : this.module(path.includes(".") ? path.slice(0, path.lastIndexOf(".")) : "");
    const said = this.said.get(path);
    const module = {
      key: `module:${path}`, path, holder, model: this, kind: said?.kind ?? "", defined: said?.defined ?? null,
      name: path === "" ? this.title : path.slice(path.lastIndexOf(".") + 1), children: [], rows: [], sums: new Map(),
    };
    module.errors = Object.fromEntries(Object.entries(said?.errors ?? {}).map(([name, value]) => [name, number(value)]));
    this.modules.set(path, module);
    holder?.children.push(module);
    return module;
  }
}

const isModule = (entry) => entry.key.startsWith("module:");
const pathOf = (entry) => (isModule(entry) ? entry.path : entry.module ?? TENSORRT);
const holderOf = (entry) => (isModule(entry) ? entry.holder : entry.home);
const childrenOf = (entry) => (isModule(entry) ? [...entry.children, ...entry.rows] : []);

// A short name within the module that holds it: of a fused row the names of its modules.
function labelOf(entry) {
  if (isModule(entry)) return entry.name;
  const base = pathOf(entry), parts = entry.modules.map((path) => (path.startsWith(`${base}.`) ? path.slice(base.length + 1) : base === "" ? path : "")).filter(Boolean);
  return `${parts.join(" + ")} ${entry.kind || entry.name}`.trim();
}

const nameOf = (entry) => (isModule(entry) ? entry.path || entry.model.title : entry.name);

function rowsOf(entry) {
  return isModule(entry) ? [...entry.children.flatMap(rowsOf), ...entry.rows] : [entry];
}

// The sum of a measure, with how many rows it is unknown of.
function total(entry, measure) {
  if (!isModule(entry)) return { sum: entry[measure] ?? 0, unknown: entry[measure] == null ? 1 : 0, rows: 1 };
  if (!entry.sums.has(measure)) {
    const result = { sum: 0, unknown: 0, rows: 0 };
    for (const child of childrenOf(entry)) {
      const part = total(child, measure);
      result.sum += part.sum; result.unknown += part.unknown; result.rows += part.rows;
    }
    entry.sums.set(measure, result);
  }
  return entry.sums.get(measure);
}

function totalText(entry, measure) {
  const { sum, unknown, rows } = total(entry, measure);
  if (unknown === rows) return "unknown";
  return SIZES[measure].text(sum) + (unknown ? ` and ${layerCount(unknown)} unknown` : "");
}

// Of a sum of which some is unknown the least that it can be.
function leastText(entry, measure) {
  const { sum, unknown } = total(entry, measure);
  return `${unknown ? "≥ " : ""}${SIZES[measure].text(sum)}`;
}

// An engine that cannot be looked into here tells of no layers: how many it has, and what they cost, nobody knows.
const isKnown = (model) => model.rows.length > 0 || model.facts.kind !== "engine";
const layersText = (entry, model) => (isKnown(model) ? String(rowsOf(entry).length) : "unknown");

const isMeasured = (model, measure) => model.rows.some((row) => row[measure] != null);

// Floating-point operations for each byte that is moved; null where either is unknown.
function intensity(entry) {
  const [flops, moved] = [total(entry, "flops"), total(entry, "moved_bytes")];
  return flops.unknown || moved.unknown || !moved.sum ? null : flops.sum / moved.sum;
}

// What it computes in: what was built, or where nothing was, what was asked.
const precisionOf = (row) => row.built ?? row.asked ?? "none";

function precisions(entry) {
  if (!isModule(entry)) return [precisionOf(entry)].filter((name) => name !== "none");
  entry.precisions ??= [...new Set(rowsOf(entry).map(precisionOf))].filter((name) => name !== "none").sort();
  return entry.precisions;
}

// One name for all that is in an entry, "mixed" where there are several; in words each of them.
function precision(entry) {
  const all = precisions(entry);
  return all.length > 1 ? "mixed" : all[0] ?? "none";
}

const precisionText = (entry) => precisions(entry).join(" + ") || "none";

// The largest error that was measured of the modules in an entry, or of those that a row was made of.
function worst(entry, name) {
  const modules = isModule(entry) ? [entry] : entry.modules.map((path) => entry.model.modules.get(path)).filter(Boolean);
  const own = modules.map((module) => module.errors[name]).filter((value) => value !== undefined);
  const below = isModule(entry) ? entry.children.map((child) => worst(child, name)).filter((value) => value !== null) : [];
  const all = [...own, ...below];
  return all.length ? Math.max(...all) : null;
}

// The FLOPs a byte from which a GPU computes longer than it moves, for what a row computes in.
function ridge(model, entry) {
  const roof = model.facts.roofline, peak = roof?.flops_per_second[precision(entry)];
  return peak ? peak / roof.bytes_per_second : null;
}

function shapeText(tensor) {
  if (!tensor) return "";
  const lengths = tensor.shape.map((length) => (length === -1 ? "?" : length)).join("×");
  return `${lengths || "scalar"} ${tensor.dtype}`.trim();
}

// What colours tell, each with the value of an entry, or null.
function colors(models) {
  const result = {};
  if (models.some((model) => isMeasured(model, "milliseconds"))) {
    const value = (entry) => { const { sum, unknown, rows } = total(entry, "milliseconds"); return unknown === rows ? null : sum; };
    result.milliseconds = { label: "Time", value, text: milliseconds, scale: "linear" };
  }
  result.precision = { label: "Precision", value: precision, text: String, describe: precisionText, scale: "ordinal" };
  for (const name of new Set(models.flatMap((model) => model.errors))) {
    result[`error:${name}`] = { label: `Error of ${name}`, value: (entry) => worst(entry, name), text: error, scale: "log" };
  }
  if (models.some((model) => isMeasured(model, "flops") && isMeasured(model, "moved_bytes"))) {
    const roofed = models.every((model) => model.facts.roofline);
    result.intensity = {
      label: roofed ? "Intensity / roofline's ridge" : "FLOPs per byte", scale: "log", text: figure,
      value: (entry) => {
        const own = intensity(entry), at = roofed ? ridge(entry.model, entry) : 1;
        return own === null || at === null ? null : own / at;
      },
    };
  }
  return result;
}
