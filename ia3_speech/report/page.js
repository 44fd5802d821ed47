// The tables of utterances and of words: they are sorted, filtered and drawn a page of rows at a time, so that
// thousands stay fast. All data is inserted as text (textContent), never as markup.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("utterance-data").textContent);
  const lists = [...document.querySelectorAll("#utterance-controls select[data-label]")];
  const several = data.compared.length > 1, choices = [...document.querySelectorAll("select[data-system]")];
  let compared = data.compared;  // the systems that are shown: the first and the last of them are compared
  const order = new Intl.Collator("en", { numeric: true });
  const percent = (rate) => rate === null ? "–" : (100 * rate).toFixed(1);
  const signed = (count) => (count > 0 ? "+" : count < 0 ? "−" : "") + Math.abs(count);

  function make(name, text, className) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function cell(row, head, text, title) {
    const element = make("td", text, "number");
    element.dataset.head = head;
    if (title) element.title = title;
    row.append(element);
    return element;
  }

  function changeCell(row, head, count, isBetter) {
    cell(row, head, signed(count)).classList.add(count === 0 ? "equal" : isBetter ? "better" : "worse");
  }

  // The macro `browsable` of templates/macros.html.jinja: a table whose heads sort, a search field, lists, a pager.
  //   id: the field that sorts equal rows   wanted: whether a row is shown
  //   drawn: the row's elements             summary: a text on the rows that are shown
  //   size: rows per page
  // Returns a function that draws the table again from its first page.
  function browse(name, rows, { id, wanted, drawn, summary, size }) {
    const part = (suffix) => find(`${name}-${suffix}`);
    const table = part("table"), start = table.querySelector("th:not([aria-sort=none])[aria-sort]");
    const state = {
      key: start.firstChild.dataset.key, down: start.getAttribute("aria-sort") === "descending", page: 0,
    };

    function compare(a, b) {
      const [x, y] = [a[state.key], b[state.key]];
      if (x === y) return order.compare(a[id], b[id]);
      if (x === null || x === undefined) return 1;  // missing values come last in both directions
      if (y === null || y === undefined) return -1;
      return (typeof x === "string" ? order.compare(x, y) : x - y) * (state.down ? -1 : 1);
    }

    function draw() {
      const shown = rows.filter(wanted).sort(compare), count = size();
      const pages = Math.max(1, Math.ceil(shown.length / count));
      state.page = Math.min(state.page, pages - 1);
      part("rows").replaceChildren(...shown.slice(state.page * count, (state.page + 1) * count).flatMap(drawn));
      part("found").textContent = summary(shown);
      part("position").textContent = `Page ${state.page + 1} of ${pages}`;
      part("previous").disabled = state.page === 0;
      part("next").disabled = state.page === pages - 1;
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
    const selects = part("controls").querySelectorAll("select");
    part("search").addEventListener("input", again);
    for (const list of selects) list.addEventListener("change", again);
    part("reset").addEventListener("click", () => {
      part("search").value = "";
      for (const list of selects) if (!list.id.endsWith("page-size") && !list.dataset.system) list.selectedIndex = 0;
      again();
    });
    part("previous").addEventListener("click", () => { state.page -= 1; draw(); });
    part("next").addEventListener("click", () => { state.page += 1; draw(); });
    draw();
    return again;
  }

  // ---- utterances

  // The fields for sorting and searching rows. In an alignment a pair is an error, a single word is correct.
  for (const row of data.rows) {
    row.errors = row.alignments.map((pairs) => pairs.filter(Array.isArray).length);
    row.reference = row.alignments[0].map((pair) => Array.isArray(pair) ? pair[0] : pair).filter((word) => word !== null);
    row.words = row.reference.length;
    const texts = row.alignments.map((pairs) =>
      pairs.map((pair) => Array.isArray(pair) ? pair[1] : pair).filter((word) => word !== null).join(" "));
    row.phrase = ` ${row.reference.join(" ")} `.toLowerCase();
    row.text = [row.id, row.reference.join(" "), ...texts].join("\n").toLowerCase();
  }

  const first = (values) => values[compared[0]], last = (values) => values[compared.at(-1)];

  // The fields that sort columns of the compared systems, and the heads of these columns.
  function compare() {
    for (const row of data.rows) {
      compared.forEach((system, number) => { row["wer" + number] = row.words ? row.errors[system] / row.words : null; });
      row.change = last(row.errors) - first(row.errors);
    }
    compared.forEach((system, number) => {
      const head = document.querySelector(`#utterance-table button[data-key=wer${number}]`);
      head.textContent = `${data.systems[system]} WER %`;
    });
    document.querySelector(".utterance-names").textContent = compared.map((system) => data.systems[system]).join(", then ");
  }
  compare();
  // These listen before `browse` does, which draws the table again.
  for (const list of choices) list.addEventListener("change", () => {
    compared = choices.map((choice) => Number(choice.value));
    compare();
  });

  // Words anywhere in the texts or the id; in quotation marks, whole words of the reference in that order.
  const matches = (row, query) =>
    [...query.toLowerCase().matchAll(/"([^"]*)"|\S+/g)].every(([text, phrase]) =>
      phrase === undefined ? row.text.includes(text) : row.phrase.includes(` ${phrase.trim()} `));
  const labelOf = (row, label) => label === "speaker" ? row.speaker : row.labels[label] ?? "(none)";
  const isShown = {
    all: () => true,
    changed: (row) => JSON.stringify(first(row.alignments)) !== JSON.stringify(last(row.alignments)),
    better: (row) => row.change < 0,
    worse: (row) => row.change > 0,
    wrong: (row) => compared.some((system) => row.errors[system] > 0),
  };

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

  function utteranceRows(row) {
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
    compared.forEach((system, number) =>
      cell(tr, data.systems[system], percent(row["wer" + number]), `${row.errors[system]} of ${row.words}`));
    if (several) changeCell(tr, "change", row.change, row.change < 0);
    const texts = make("td", undefined, "texts"), second = make("tr", undefined, "texts-row");
    texts.colSpan = tr.children.length;
    texts.append(line("reference", row.reference, "reference"));
    for (const system of compared) texts.append(line(data.systems[system], row.alignments[system]));
    second.append(texts);
    return [tr, second];
  }

  const drawUtterances = browse("utterance", data.rows, {
    id: "id",
    wanted: (row) => matches(row, find("utterance-search").value)
      && lists.every((list) => list.value === "" || labelOf(row, list.dataset.label) === list.value)
      && isShown[find("utterance-shown").value](row),
    drawn: utteranceRows,
    summary: (rows) => {
      const sum = (value) => rows.reduce((total, row) => total + value(row), 0), total = sum((row) => row.words);
      const rates = compared.map((system) =>
        `${data.systems[system]} ${percent(total ? sum((row) => row.errors[system]) / total : null)} %`);
      return `${rows.length} of ${data.rows.length} utterances, ${total} words, WER: ${rates.join(", ")}`;
    },
    size: () => Number(find("utterance-page-size").value),
  });

  // Show the utterances with a value of a label, or with a phrase in the reference.
  function showUtterances(label, value, phrase = "") {
    for (const list of lists) list.value = list.dataset.label === label ? value : "";
    find("utterance-shown").value = "all";
    find("utterance-search").value = phrase && `"${phrase}"`;
    drawUtterances();
  }

  // ---- words

  if (find("word-data")) {
    const words = JSON.parse(find("word-data").textContent);
    for (const row of words.rows) {
      row.correct.forEach((correct, number) => { row["rate" + number] = correct / row.count; });
    }
    const isWanted = {
      all: () => true,
      terms: (row) => row.term !== null,
      better: (row) => row.gain > 0,
      worse: (row) => row.gain < 0,
    };

    function wordRows(row) {
      const tr = make("tr"), name = make("th"), link = make("a", row.word, row.term === null ? "" : "term");
      name.scope = "row";
      link.href = "#utterances";
      link.dataset.word = row.word;
      name.append(link);
      if (row.term !== null && row.term !== "term") name.append(make("small", row.term));
      tr.append(name);
      cell(tr, "occurrences", String(row.count));
      words.systems.forEach((system, number) =>
        cell(tr, system, percent(row["rate" + number]), `${row.correct[number]} of ${row.count}`));
      if (several) changeCell(tr, "gain", row.gain, row.gain > 0);
      tr.append(make("td", row.instead.at(-1), "instead"));
      return [tr];
    }

    browse("word", words.rows, {
      id: "word",
      wanted: (row) => row.word.toLowerCase().includes(find("word-search").value.trim().toLowerCase())
        && isWanted[find("word-shown")?.value ?? "all"](row),
      drawn: wordRows,
      summary: (rows) => {
        const total = rows.reduce((sum, row) => sum + row.count, 0);
        return `${rows.length} of ${words.rows.length} words, ${total} occurrences`;
      },
      size: () => 20,
    });

    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-word]");
      if (link) showUtterances("", "", link.dataset.word);
    });
  }

  // The name of a speaker, or of another value, links to its utterances.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-label]");
    if (link && lists.some((list) => list.dataset.label === link.dataset.label))
      showUtterances(link.dataset.label, link.dataset.value);
  });

  // One player at a time.
  document.addEventListener("play", (event) => {
    for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
  }, true);
})();
