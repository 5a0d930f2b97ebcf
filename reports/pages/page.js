"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const table = document.getElementById("timings");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const filter = document.getElementById("filter");
  const status = document.getElementById("status");
  let view = "seconds";
  let sorted = null;
  const chosen = (name) => (document.querySelector(`input[name="${name}"]:checked`) || { value: "" }).value;

  function show() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const variant = chosen("variant");
    let count = 0;
    for (const row of rows) {
      const text = `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase();
      const fits = words.every((word) => text.includes(word)) && (!variant || [variant, "published"].includes(row.dataset.variant));
      row.hidden = !fits;
      count += fits;
    }
    status.textContent = count === rows.length ? "" : count ? `${count} of ${rows.length} rows` : "No row fits the filter";
    view = chosen("view") || "seconds";
    document.getElementById("shown").className = `view-${view}${document.getElementById("intervals").checked ? " with-intervals" : ""}`;
    document.getElementById("what").textContent = document.querySelector("input[name=view]:checked").dataset.title;
    table.style.setProperty("--first", `${table.tHead.rows[1].cells[0].offsetWidth}px`);
  }

  function key(row, column) {
    const cell = row.cells[column];
    if (column < 2) return cell.textContent;
    const shown = cell.dataset[view];
    return shown === undefined || shown === "" ? Infinity : Number(shown);
  }

  function sort(button) {
    const head = button.closest("th");
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
    sorted = next === "none" ? null : head;
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", next);
    arrange(Number(button.dataset.column), next);
  }

  function arrange(column, next) {
    const sign = next === "descending" ? -1 : 1;
    const order = next === "none" ? rows : [...rows].sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (x === y) return 0;
      if (x === Infinity || y === Infinity) return x === Infinity ? 1 : -1; // what has no number stands last either way
      return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
    });
    body.classList.toggle("sorted", next !== "none");
    body.append(...order);
  }

  function open(hash) {
    const target = document.getElementById(hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  }

  filter.addEventListener("input", show);
  for (const input of document.querySelectorAll(".controls input")) input.addEventListener("change", show);
  for (const input of document.querySelectorAll("input[name=view]")) {
    input.addEventListener("change", () => sorted && arrange(sorted.cellIndex, sorted.getAttribute("aria-sort")));
  }
  for (const button of table.querySelectorAll("thead button")) button.addEventListener("click", () => sort(button));
  addEventListener("click", (event) => { // a second time too, when the address does not change
    const link = event.target.closest("a[href^='#']");
    if (link) open(link.getAttribute("href"));
  });
  addEventListener("hashchange", () => open(location.hash));
  addEventListener("beforeprint", () => {
    for (const row of rows) row.hidden = false;
    for (const detail of document.querySelectorAll(".on-paper-too")) detail.open = true;
  });
  addEventListener("afterprint", show);
  addEventListener("resize", show);
  open(location.hash);
  show();
})();
