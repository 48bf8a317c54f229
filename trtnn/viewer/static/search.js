// The search: a list of the modules and layers whose names hold what is typed, the nearest first.

const MOST_FOUND = 30;

function found(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const whole = text.trim().toLowerCase(), seen = new Map();
  for (const model of models) {
    for (const entry of [...model.modules.values(), ...model.rows]) {
      const name = nameOf(entry).toLowerCase(), all = `${name} ${entry.kind.toLowerCase()} ${isModule(entry) ? "" : entry.modules.join(" ").toLowerCase()}`;
      const rank = name === whole ? 0 : name.startsWith(whole) ? 1 : name.includes(whole) ? 2 : words.every((word) => all.includes(word)) ? 3 : null;
      const key = `${isModule(entry) ? "m" : "r"}${nameOf(entry)}`;
      if (rank !== null && !seen.has(key)) seen.set(key, { entry, rank });
    }
  }
  return [...seen.values()].sort((a, b) => a.rank - b.rank || isModule(b.entry) - isModule(a.entry) || nameOf(a.entry).length - nameOf(b.entry).length).slice(0, MOST_FOUND).map(({ entry }) => entry);
}

function listen() {
  const input = document.getElementById("search"), list = document.getElementById("found");
  let entries = [], at = -1;
  const close = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); at = -1; };
  const pick = (entry) => { if (!entry) return; input.value = nameOf(entry); close(); select(entry); };
  const mark = () => {
    [...list.children].forEach((line, index) => line.setAttribute("aria-selected", index === at));
    if (at >= 0) { input.setAttribute("aria-activedescendant", list.children[at].id); list.children[at].scrollIntoView({ block: "nearest" }); }
  };
  input.addEventListener("input", () => {
    entries = found(input.value);
    at = entries.length ? 0 : -1;
    list.replaceChildren(...entries.map((entry, index) => element("li", { role: "option", id: `found-${index}`, onmousedown: (event) => { event.preventDefault(); pick(entry); } },
      `${nameOf(entry)}  ${entry.kind}`)));
    list.hidden = !entries.length;
    input.setAttribute("aria-expanded", String(Boolean(entries.length)));
    mark();
    if (input.value && !entries.length) document.getElementById("said").textContent = `Nothing is called ${input.value}`;
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (entries.length) at = (at + (event.key === "ArrowDown" ? 1 : -1) + entries.length) % entries.length;
      mark();
    } else if (event.key === "Enter") { event.preventDefault(); pick(entries[Math.max(at, 0)]); }
    else if (event.key === "Escape") { if (!list.hidden) { event.preventDefault(); close(); } }
  });
  input.addEventListener("blur", close);
}
