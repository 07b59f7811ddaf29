"use strict";

// Curves: say the value under the pointer, or step through it with the arrow keys.
for (const plot of document.querySelectorAll(".plot")) {
  const points = JSON.parse(plot.dataset.points);
  const both = plot.dataset.near === "xy";
  const cross = plot.querySelector(".cross");
  const tip = plot.querySelector(".tip");
  let current = points.length;

  const show = (index) => {
    current = Math.max(0, Math.min(points.length - 1, index));
    const [x, y, where, value, other] = points[current];
    const rest = both ? `reward ${value}, √KL ${other}` : value === other ? value : `${value}, smoothed ${other}`;
    tip.textContent = `${where}: ${rest}`;
    cross.style.left = `${x}%`;
    cross.style.setProperty("--y", `${y}%`);
    cross.hidden = tip.hidden = false;
    const half = tip.offsetWidth / 2;
    const room = document.documentElement.clientWidth - plot.getBoundingClientRect().left - half - 8;
    tip.style.left = `${Math.min((x / 100) * plot.clientWidth, room)}px`;
  };
  const hide = () => { cross.hidden = tip.hidden = true; };

  const follow = (event) => {
    const box = plot.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 100;
    const y = ((event.clientY - box.top) / box.height) * 100;
    const far = (point) => Math.hypot(point[0] - x, both ? point[1] - y : 0);
    show(points.reduce((best, point, index) => (far(point) < far(points[best]) ? index : best), 0));
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(current + move);
  });
}

// Outcomes: one row for what one source said about one answer. Texts are only ever set as text.
const section = document.getElementById("outcomes");
if (section) {
  const PAGE = 20;
  const { answers, prompts, sources } = JSON.parse(document.getElementById("ledger").textContent);
  const rows = answers.flatMap(([step, prompt, answer, reward, finish, said]) =>
    said.map(([source, kind, value, reason]) => ({
      step, source: sources[source], kind, value, reason, prompt: prompts[prompt], answer, finish,
    })));
  const search = document.getElementById("search");
  const source = document.getElementById("source");
  const kind = document.getElementById("kind");
  const body = section.querySelector("tbody");
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");
  let found = rows;
  let page = 0;
  let sorted = { by: "step", up: true };

  const cell = (text, name, inner) => {
    const td = document.createElement("td");
    td.className = name;
    const holder = inner ? td.appendChild(document.createElement(inner)) : td;
    holder.textContent = text;
    if (inner) holder.dir = "auto";
    return td;
  };
  const score = (value) => {
    const size = Math.abs(value);
    if (size > 0 && size < 0.001) return value.toExponential(1).replace(/-/g, "−");
    const digits = size < 1000 ? 3 : 0;
    return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
  };
  const said = (row) => {
    if (row.kind !== "score") {
      const td = cell("", "num");
      td.appendChild(document.createElement("span")).className = row.kind;
      td.firstChild.textContent = row.kind === "abstain" ? "abstained" : row.kind;
      return td;
    }
    return cell(score(row.value ?? 0), "num");
  };
  const line = (row) => {
    const tr = document.createElement("tr");
    tr.tabIndex = 0;
    tr.append(
      cell(row.step.toLocaleString("en"), "num soft"), cell(row.source, ""), said(row),
      cell(row.reason || "–", row.reason ? "" : "soft none", "p"), cell(row.prompt, "soft", "p"),
      cell(row.answer || "(empty answer)", row.answer ? "" : "soft", "p"),
    );
    const toggle = () => { if (!String(getSelection())) tr.classList.toggle("open"); };
    tr.addEventListener("click", toggle);
    tr.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(); });
    return tr;
  };
  const draw = () => {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.max(0, Math.min(page, pages - 1));
    const start = page * PAGE;
    const shown = found.slice(start, start + PAGE);
    body.replaceChildren(...shown.map(line));
    document.getElementById("where").textContent = found.length
      ? `${(start + 1).toLocaleString("en")}–${(start + shown.length).toLocaleString("en")} of ${found.length.toLocaleString("en")} outcomes`
      : "No outcome matches";
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  };
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = rows.filter((row) =>
      (!source.value || row.source === source.value) && (!kind.value || row.kind === kind.value) &&
      words.every((word) => (row.text ??= `${row.source} ${row.reason} ${row.prompt} ${row.answer}`.toLowerCase()).includes(word)));
    const way = sorted.up ? 1 : -1;
    const last = sorted.up ? Infinity : -Infinity;
    found.sort((a, b) => way * ((a[sorted.by] ?? last) - (b[sorted.by] ?? last) || 0));
    page = 0;
    draw();
  };
  const fill = (select, key, names = {}) => {
    const counts = new Map();
    for (const row of rows) counts.set(row[key], (counts.get(row[key]) ?? 0) + 1);
    for (const [value, count] of [...counts].sort()) {
      const option = select.appendChild(document.createElement("option"));
      option.value = value;
      option.textContent = `${names[value] ?? value} (${count.toLocaleString("en")})`;
    }
  };

  fill(source, "source");
  fill(kind, "kind", { score: "Scores", abstain: "Abstained", failed: "Failed" });
  for (const input of [search, source, kind]) input.addEventListener("input", filter);
  previous.addEventListener("click", () => { page -= 1; draw(); });
  next.addEventListener("click", () => { page += 1; draw(); });
  for (const button of section.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      const by = button.dataset.sort;
      sorted = { by, up: sorted.by === by ? !sorted.up : true };
      for (const th of section.querySelectorAll("th")) th.removeAttribute("aria-sort");
      button.parentElement.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
      filter();
    });
  }
  for (const hidden of section.querySelectorAll(".tools, table, .pager")) hidden.hidden = false;
  filter();
}
