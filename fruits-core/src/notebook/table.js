"use strict";
// Makes the table before it one to sort, to search and to page through. data: { source, columns: [{ name, isNumber, values: [text] }] }
((script) => {
  const box = script.parentElement, table = box.querySelector("table"), body = table.tBodies[0];
  const { source, columns } = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const count = columns[0].values.length, heads = [...table.tHead.rows[0].cells].slice(-columns.length);
  const hasPictures = table.tHead.rows[0].cells.length > columns.length;
  const pictures = new Map([...body.rows].filter((row) => row.dataset.row && row.querySelector("img")).map((row) => [+row.dataset.row, row.cells[0]]));
  let rows = [...Array(count).keys()], order = null, page = 0, size = 10;

  const control = (name, label, action) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.ariaLabel = label;
    button.addEventListener("click", action);
    return button;
  };
  const turn = (to) => () => { page = Math.max(0, Math.min(Math.ceil(rows.length / size) - 1, to())); draw(); };
  const last = () => Math.ceil(rows.length / size) - 1;
  const said = document.createElement("span"), search = document.createElement("input"), sizes = document.createElement("select");
  search.type = "search";
  search.placeholder = search.ariaLabel = "search in rows";
  search.addEventListener("input", () => { page = 0; choose(); });
  sizes.ariaLabel = "rows of a page";
  for (const one of [10, 25, 100]) sizes.add(new Option(one + " rows", one));
  sizes.addEventListener("change", () => { size = +sizes.value; page = 0; draw(); });
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.append(control("«", "first page", turn(() => 0)), control("‹", "page before", turn(() => page - 1)), said,
    control("›", "next page", turn(() => page + 1)), control("»", "last page", turn(last)), sizes, search);
  said.textContent = count + " rows";
  table.after(bar);

  heads.forEach((head, index) => {
    const sort = document.createElement("button");
    sort.append(...head.childNodes);
    sort.title = "sort: upwards, downwards, not";
    sort.addEventListener("click", () => {
      const way = order?.index !== index ? 1 : order.way === 1 ? -1 : 0;
      order = way ? { index, way } : null;
      heads.forEach((other, at) => (other.ariaSort = order && at === index ? (way === 1 ? "ascending" : "descending") : null));
      page = 0;
      choose();
    });
    head.append(sort);
  });

  function choose() {
    const wanted = search.value.toLowerCase();
    rows = [...Array(count).keys()].filter((row) => !wanted || columns.some(({ values }) => values[row].toLowerCase().includes(wanted)));
    if (order) {
      const { values, isNumber } = columns[order.index], missing = (text) => text === "null" || (isNumber && isNaN(text));
      const compare = isNumber ? (a, b) => a - b : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      rows.sort((a, b) => missing(values[a]) - missing(values[b]) || order.way * compare(values[a], values[b]) || a - b);
    }
    draw();
  }

  function draw() {
    const shown = rows.slice(page * size, (page + 1) * size);
    body.replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      if (hasPictures) line.append(pictures.get(row)?.cloneNode(true) ?? document.createElement("td"));
      columns.forEach(({ values }, index) => {
        const cell = line.insertCell(), text = values[row], isBelow = source && text.startsWith(source);
        cell.style.textAlign = heads[index].style.textAlign;
        if (isBelow) cell.append(Object.assign(document.createElement("span"), { className: "source", textContent: source }));
        cell.append(isBelow ? text.slice(source.length) : text);
      });
      return line;
    }));
    const first = page * size + 1;
    said.textContent = rows.length ? `${first} to ${first + shown.length - 1} of ${rows.length}` + (rows.length < count ? ` (${count})` : "") : "none";
  }
})(document.currentScript);
