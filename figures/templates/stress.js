"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const FEW = 12;
  root.classList.add("scripted");
  for (const part of all(".needs-script")) part.hidden = false;

  // Theme: the system's until the reader chooses; a page opened from a file may have no storage.
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("rewardgap-theme");
      localStorage.setItem("rewardgap-theme", value);
    } catch { /* no storage: the choice lasts as long as the page */ }
    return null;
  };
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const label = () => { theme.textContent = dark() ? "Light theme" : "Dark theme"; };
  const chosen = remembered();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remembered(root.dataset.theme);
    label();
  });
  system.addEventListener("change", label);
  label();

  // Sorting: numbers as numbers, what is unknown last in either direction.
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    all(".sort", table).forEach((button) => button.addEventListener("click", () => {
      const head = button.closest("th"), column = heads.indexOf(head);
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      const value = (row) => row.cells[column].dataset.value || "";
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [value(row), row]);
      rows.sort(([a], [b]) => (a === "") - (b === "") || (order === "ascending" ? compare(a, b) : compare(b, a)));
      body.append(...rows.map(([, row]) => row));
    }));
  }

  // Filters: of everything that carries the field; a line that lacks it is about all of its values.
  const form = document.getElementById("filters");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const lines = all("[data-transformation], [data-model], [data-models]");
  const text = new Map(all("tr[data-transformation], .example").map((line) => [line, line.textContent.toLowerCase()]));
  let everything = false;
  const matches = (line, wanted) => {
    for (const name of ["model", "transformation", "purpose", "side"]) {
      const value = wanted.get(name);
      if (!value) continue;
      if (name === "model" && line.dataset.models) {
        if (!JSON.parse(line.dataset.models).includes(value)) return false;
      } else if (line.dataset[name] !== undefined && line.dataset[name] !== value) return false;
    }
    const words = (wanted.get("search") || "").trim().toLowerCase();
    return !words || !text.has(line) || text.get(line).includes(words);
  };
  const filter = () => {
    const wanted = new FormData(form);
    const found = lines.filter((line) => {
      line.toggleAttribute("hidden", !matches(line, wanted));
      return !line.hasAttribute("hidden");
    });
    const examples = found.filter((line) => line.classList.contains("example"));
    if (!everything) examples.slice(FEW).filter((line) => !line.open).forEach((line) => { line.hidden = true; });
    if (more) {
      more.hidden = everything || examples.length <= FEW;
      more.textContent = `Show all ${examples.length} examples`;
    }
    const rows = all("table.results tbody tr"), left = rows.filter((row) => !row.hidden);
    count.textContent = `${left.length} of ${rows.length} lines, ${examples.length} of ${all(".example").length} examples`;
    for (const nothing of all(".nothing")) {
      const near = all(".example, .results tbody tr", nothing.parentElement);
      nothing.hidden = near.some((line) => !line.hidden);
    }
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  if (more) more.addEventListener("click", () => { everything = true; filter(); });
  filter();

  // A link to an example opens it, also where it was not among the few shown.
  const reveal = () => {
    const target = /^#example-\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!target) return;
    target.open = true;
    target.hidden = false;
    target.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView({ block: "start" });
  };
  addEventListener("hashchange", reveal);
  for (const link of all("a.to-example")) link.addEventListener("click", () => setTimeout(reveal));
  reveal();
})();
