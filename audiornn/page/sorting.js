"use strict";

// Tables of the class `sortable`: select a heading.
function sortBy(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = table.tBodies[0];
  const numeric = heading.classList.contains("number");
  const value = (row) => row.cells[column].dataset.value;
  const compare = (first, second) => {
    if (!numeric) return value(first).localeCompare(value(second));
    if (value(first) === "" || value(second) === "") return 0;
    return Number(value(first)) - Number(value(second));
  };
  // Cells without a value stay last, whichever way the rest goes.
  const missing = (row) => Number(numeric && value(row) === "");
  const rows = [...body.rows].sort(
    (first, second) => missing(first) - missing(second) || (ascending ? 1 : -1) * compare(first, second),
  );
  body.append(...rows);
}

for (const heading of document.querySelectorAll("table.sortable th:not(.unsorted)")) {
  const button = document.createElement("button");
  button.textContent = heading.textContent;
  heading.replaceChildren(button);
  button.addEventListener("click", () => sortBy(heading));
}
