"use strict";
// Without this script everything is readable and playable; it adds sorting and the moving cursor.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th[data-sort]").forEach((head) => {
    const column = head.cellIndex;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.sort === "number" ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      const value = (row) => {
        const cell = row.cells[column];
        const text = cell.dataset.value ?? cell.textContent.trim();
        const number = parseFloat(text);
        return head.dataset.sort === "number" ? (Number.isNaN(number) ? -Infinity : number) : text;
      };
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        const way = typeof x === "number" ? (x === y ? 0 : x < y ? -1 : 1) : x.localeCompare(y, "en");
        return order === "ascending" ? way : -way;
      };
      body.append(...[...body.rows].sort(compare));
      for (const each of table.querySelectorAll("thead th[data-sort]")) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
    });
  });
}

const players = [...document.querySelectorAll("audio")];
for (const player of players) {
  const card = player.closest(".clip");
  const drawing = card.querySelector("svg");
  const cursor = card.querySelector(".cursor");
  player.addEventListener("play", () => {
    for (const other of players) if (other !== player) other.pause();
  });
  if (!cursor) continue;
  const [left, width, start, end] = ["left", "width", "start", "end"].map((key) => parseFloat(cursor.dataset[key]));
  const draw = () => {
    const share = Math.min(Math.max((player.currentTime - start) / (end - start), 0), 1);
    cursor.setAttribute("transform", `translate(${left + width * share} 0)`);
    cursor.classList.add("on");
    if (!player.paused) requestAnimationFrame(draw);
  };
  for (const event of ["play", "seeked"]) player.addEventListener(event, draw);
  drawing.classList.add("seekable");
  drawing.addEventListener("click", (event) => {
    const box = drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * drawing.viewBox.baseVal.width;
    if (x < left || x > left + width) return;
    player.currentTime = start + ((x - left) / width) * (end - start);
  });
}
