// The table of utterances: sorts, filters and draws one page of rows at a time, so that thousands stay fast.
// All data is inserted as text (textContent), never as markup.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("utterance-data").textContent);
  const table = find("utterance-table"), body = find("utterance-rows"), found = find("found");
  const lists = [...document.querySelectorAll("#controls select[data-label]")];
  const several = data.systems.length > 1, last = data.systems.length - 1;

  // What rows are sorted and searched by. In an alignment a pair is an error, a single word is correct.
  for (const row of data.rows) {
    row.errors = row.alignments.map((pairs) => pairs.filter(Array.isArray).length);
    row.reference = row.alignments[0].map((pair) => Array.isArray(pair) ? pair[0] : pair).filter((word) => word !== null);
    row.words = row.reference.length;
    row.errors.forEach((errors, number) => { row["wer" + number] = row.words ? errors / row.words : null; });
    row.change = row.errors[last] - row.errors[0];
    const texts = row.alignments.map((pairs) =>
      pairs.map((pair) => Array.isArray(pair) ? pair[1] : pair).filter((word) => word !== null).join(" "));
    row.text = [row.id, row.reference.join(" "), ...texts].join("\n").toLowerCase();
  }

  const state = { key: "id", down: false, page: 0 };

  const wanted = (row, words, shown) =>
    words.every((word) => row.text.includes(word))
    && lists.every((list) => list.value === "" || labelOf(row, list.dataset.label) === list.value)
    && (shown === "all"
      || (shown === "changed" && JSON.stringify(row.alignments[0]) !== JSON.stringify(row.alignments[last]))
      || (shown === "better" && row.change < 0)
      || (shown === "worse" && row.change > 0)
      || (shown === "wrong" && row.errors.some((errors) => errors > 0)));
  const labelOf = (row, label) => label === "speaker" ? row.speaker : row.labels[label] ?? "(none)";

  const order = new Intl.Collator("en", { numeric: true });
  function compare(a, b) {
    const [x, y] = [a[state.key], b[state.key]];
    if (x === y) return order.compare(a.id, b.id);
    if (x === null || x === undefined) return 1;  // missing values come last in both directions
    if (y === null || y === undefined) return -1;
    return (typeof x === "string" ? order.compare(x, y) : x - y) * (state.down ? -1 : 1);
  }

  function make(name, text, className) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function word(pair) {
    if (!Array.isArray(pair)) return document.createTextNode(pair);
    const [reference, hypothesis] = pair;
    if (hypothesis === null) return make("del", reference, "deleted");
    if (reference === null) return make("ins", hypothesis, "inserted");
    const both = make("ruby", hypothesis, "substituted");
    both.append(make("rt", reference));
    both.title = `reference: ${reference}`;
    return both;
  }

  function line(who, pairs, className) {
    const paragraph = make("p", undefined, className);
    const words = make("span");
    for (const pair of pairs) words.append(word(pair), " ");
    paragraph.append(make("span", who, "who"), words);
    return paragraph;
  }

  const percent = (rate) => rate === null ? "–" : (100 * rate).toFixed(1);

  function cell(row, head, text, title) {
    const element = make("td", text, "number");
    element.dataset.head = head;
    if (title) element.title = title;
    row.append(element);
  }

  function drawn(row) {
    const tr = make("tr"), name = make("th", row.id);
    name.scope = "row";
    const labels = Object.entries(row.labels).map(([label, value]) => `${label}: ${value}`).join(", ");
    if (labels) name.append(make("small", labels));
    if (row.audio) {
      const player = make("audio");
      player.controls = true;
      player.preload = "none";
      player.src = row.audio;
      player.setAttribute("aria-label", `Recording of ${row.id}`);
      name.append(player);
    }
    tr.append(name);
    const speaker = make("td", row.speaker);
    speaker.dataset.head = "speaker";
    tr.append(speaker);
    cell(tr, "seconds", row.seconds === null ? "–" : row.seconds.toFixed(1));
    cell(tr, "words", String(row.words));
    data.systems.forEach((system, number) =>
      cell(tr, system, percent(row["wer" + number]), `${row.errors[number]} of ${row.words}`));
    if (several) {
      cell(tr, "change", (row.change > 0 ? "+" : row.change < 0 ? "−" : "") + Math.abs(row.change));
      tr.lastChild.classList.add(row.change < 0 ? "better" : row.change > 0 ? "worse" : "equal");
    }
    const texts = make("td", undefined, "texts"), second = make("tr", undefined, "texts-row");
    texts.colSpan = tr.children.length;
    texts.append(line("reference", row.reference, "reference"));
    data.systems.forEach((system, number) => texts.append(line(system, row.alignments[number])));
    second.append(texts);
    return [tr, second];
  }

  function draw() {
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = data.rows.filter((row) => wanted(row, words, find("shown").value)).sort(compare);
    const size = Number(find("page-size").value), pages = Math.max(1, Math.ceil(rows.length / size));
    state.page = Math.min(state.page, pages - 1);
    body.replaceChildren(...rows.slice(state.page * size, (state.page + 1) * size).flatMap(drawn));
    const sum = (value) => rows.reduce((total, row) => total + value(row), 0), total = sum((row) => row.words);
    const rates = data.systems.map((system, number) =>
      `${system} ${percent(total ? sum((row) => row.errors[number]) / total : null)} %`);
    found.textContent = `${rows.length} of ${data.rows.length} utterances, ${total} words, WER: ${rates.join(", ")}`;
    find("position").textContent = `Page ${state.page + 1} of ${pages}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page === pages - 1;
    for (const button of table.querySelectorAll("button[data-key]")) {
      const way = button.dataset.key !== state.key ? "none" : state.down ? "descending" : "ascending";
      button.closest("th").setAttribute("aria-sort", way);
    }
  }

  function again() { state.page = 0; draw(); }

  table.tHead.addEventListener("click", (event) => {
    const key = event.target.dataset.key;
    if (!key) return;
    state.down = key === state.key && !state.down;
    state.key = key;
    again();
  });
  find("search").addEventListener("input", again);
  for (const list of document.querySelectorAll("#controls select")) list.addEventListener("change", again);
  find("reset").addEventListener("click", () => {
    find("search").value = "";
    find("shown").value = "all";
    for (const list of lists) list.value = "";
    again();
  });
  find("previous").addEventListener("click", () => { state.page -= 1; draw(); });
  find("next").addEventListener("click", () => { state.page += 1; draw(); });

  // The name of a speaker or another value beside its bars leads to its utterances.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-label]");
    const list = link && lists.find((one) => one.dataset.label === link.dataset.label);
    if (!list) return;
    for (const other of lists) other.value = "";
    list.value = link.dataset.value;
    again();
  });

  // One player at a time.
  document.addEventListener("play", (event) => {
    for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
  }, true);

  // Folded parts are printed too.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = true;
  });
  window.addEventListener("afterprint", () => { for (const one of opened) one.open = false; });

  draw();
})();
