// The leaderboard sorts by a column, and a filter hides what is not asked for. Without it the page is the same, still.
"use strict";
(() => {
  const table = document.getElementById("leaderboard");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value ?? "";
  const compare = (one, two, up) => {
    if (one === "" || two === "") return (one === "") - (two === "");
    const numbers = [Number(one), Number(two)];
    const order = numbers.some(Number.isNaN) ? one.localeCompare(two) : numbers[0] - numbers[1];
    return up ? order : -order;
  };
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const first = head.dataset.first;
      const next = before === null ? first : before === "ascending" ? "descending" : "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      const rows = [...body.rows];
      rows.sort((one, two) => compare(value(one, column), value(two, column), next === "ascending"));
      body.append(...rows);
    });
  });
  const filter = document.getElementById("filter");
  const found = document.getElementById("found");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    document.querySelectorAll("[data-words]").forEach((each) => {
      each.hidden = !words.every((word) => each.dataset.words.toLowerCase().includes(word));
    });
    found.textContent = `${[...body.rows].filter((row) => !row.hidden).length} of ${body.rows.length}`;
  });
  document.querySelectorAll(".needs-script").forEach((each) => { each.hidden = false; });
})();
