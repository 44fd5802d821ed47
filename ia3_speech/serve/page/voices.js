/* Voices: their recordings, training as a job on the server, and its result in plain words. */

import { $, api, apiJson, form, make, number, pathOf, refresh, run, save, state, t } from "./common.js";
import { chooseAdapter } from "./try.js";

const MIN_RECORDINGS = 5; // for a new adapter
const PER = 10; // words: the result is the number of errors in them
const POLL = 1000; // milliseconds between two requests for the progress of a job
let readSentences; // (name) → the page reads sentences for this voice

/** `read` shows sentences to read for a voice; it is a parameter since reading.js imports this module. */
export function startVoices(read) {
  readSentences = read;
  document.addEventListener("refreshed", showVoices);
}

async function showVoices() {
  await showCards($("voice-list"), state.data.map((voice) => voice.name));
  if (!state.data.length) $("voice-list").replaceChildren(make("p", { textContent: t("no_voices") }));
}

/** Cards of voices; each follows the job of its voice. An existing card stays, so that a click in it is not
    lost. */
export async function showCards(place, names) {
  const existing = new Map([...place.children].map((card) => [card.dataset.name, card]));
  const cards = names.map((name) => {
    const card = existing.get(name) ?? make("div", { className: "card voice" });
    card.dataset.name = name;
    return card;
  });
  place.replaceChildren(...cards);
  await Promise.all(cards.map(fill));
}

async function fill(card) {
  const { name } = card.dataset;
  const request = (card.request = apiJson(pathOf(name)));
  const voice = await request;
  if (card.request !== request) return; // a later answer fills the card
  const status = make("p", { className: "status", role: "status" });
  const minutes = number(voice.seconds / 60, 1);
  card.replaceChildren(
    make("h3", { textContent: name }),
    make("p", {}, t("voice_facts", { recordings: voice.recordings, minutes }), " ",
      t(voice.adapter ? "voice_has" : "voice_has_not")),
    recordingsOf(card, voice, status),
    status,
    actionsOf(card, voice, status),
  );
  const job = voice.job;
  card.dataset.state = job?.state ?? "none";
  if (!job) return;
  if (["queued", "running"].includes(job.state)) follow(card, status, job);
  else status.append(...outcome(job, voice.adapter));
}

function recordingsOf(card, voice, status) {
  const { suspicious = [] } = voice.job?.result ?? {};
  const rows = voice.items.map((item) => {
    const ariaLabel = t("delete_one_label", { text: item.text });
    const remove = make("button", { textContent: t("delete_one"), ariaLabel });
    remove.onclick = () => run(remove, status, async () => {
      await api(`${pathOf(voice.name)}/recordings/${encodeURIComponent(item.id)}`, { method: "DELETE" });
      await fill(card);
      card.querySelector("summary").focus();
    });
    const row = make("li", {}, make("span", {}, item.text), remove);
    if (suspicious.includes(item.id))
      row.firstChild.append(make("span", { className: "fault", textContent: ` ${t("suspicious")}` }));
    return row;
  });
  return make("details", { open: suspicious.length > 0 }, make("summary", { textContent: t("recordings_list") }),
    make("ul", { className: "recordings" }, ...rows));
}

function actionsOf(card, voice, status) {
  const { name } = voice;
  const busy = ["queued", "running"].includes(voice.job?.state);
  const learn = make("button", { className: "primary learn", textContent: t(voice.adapter ? "learn" : "make_adapter") });
  learn.disabled = busy || voice.recordings < (voice.adapter ? 1 : MIN_RECORDINGS);
  const epochs = make("input", { type: "number", min: 1, max: 20, placeholder: "4", className: "epochs" });
  const others = state.adapters.filter((other) => other !== name && !other.includes("@"));
  const start = make("select", { className: "start" }, make("option", { value: "", textContent: t("start_default") }),
    ...others.map((other) => make("option", { value: other, textContent: other })));
  learn.onclick = () => run(learn, status, async () => {
    const body = form({ epochs: epochs.value, start: start.value });
    await api(`${pathOf(name)}/learn`, { method: "POST", body });
    await fill(card);
    card.querySelector("progress")?.focus();
  });
  const more = make("button", { textContent: t("more") });
  more.onclick = () => run(more, status, () => readSentences(name));
  const buttons = [learn, more];
  if (voice.adapter) {
    const use = make("button", { className: "use", textContent: t("try_it") });
    use.onclick = () => {
      chooseAdapter(name);
      location.hash = "#try";
    };
    const download = make("button", { className: "download", textContent: t("download") });
    download.onclick = () => run(download, status, async () =>
      save(await (await api(`adapters/${encodeURIComponent(name)}/download`)).blob(), `${name}.zip`));
    buttons.push(use, download);
  }
  if (voice.adapter && state.uploads) {
    const forget = make("button", { className: "danger forget", textContent: t("delete_adapter") });
    forget.disabled = busy;
    forget.onclick = () => confirm(t("delete_adapter_sure", { name })) && run(forget, status, async () => {
      for (const other of state.adapters.filter((other) => other.split("@")[0] === name))
        await api(`adapters/${encodeURIComponent(other)}`, { method: "DELETE" });
      await refresh();
      await fill(card);
      card.querySelector("button:enabled")?.focus();
    });
    buttons.push(forget);
  }
  const whole = voice.made || state.admin || !voice.adapter; // else an adapter that is older than the recordings stays
  const remove = make("button", { className: "danger delete", textContent: t(whole ? "delete_all" : "delete_recordings") });
  remove.onclick = () => {
    if (!confirm(t(whole ? "delete_sure" : "delete_recordings_sure", { name }))) return;
    run(remove, status, async () => {
      await api(pathOf(name), { method: "DELETE" });
      document.dispatchEvent(new CustomEvent("deleted", { detail: name }));
      await refresh();
      $("main").focus();
    });
  };
  const few = make("p", { className: "quiet", textContent: t("too_few", { min: MIN_RECORDINGS }) });
  few.hidden = voice.adapter || voice.recordings >= MIN_RECORDINGS;
  const options = make("details", {}, make("summary", { textContent: t("options") }),
    make("label", {}, make("span", { textContent: t("epochs") }), epochs),
    make("label", {}, make("span", { textContent: t("start") }), start));
  return make("div", {}, few, make("div", { className: "row" }, ...buttons, remove), options);
}

/** Show the progress of a job until it has ended. */
function follow(card, status, first) {
  const { name } = card.dataset;
  const bar = make("progress", { max: 1, tabIndex: -1, ariaLabel: t("job_running") });
  const text = make("p", { className: "quiet" });
  const cancel = make("button", { className: "cancel", textContent: t("cancel") });
  cancel.onclick = () => run(cancel, status, () => api(`${pathOf(name)}/learn`, { method: "DELETE" }));
  status.textContent = t(first.state === "queued" ? "job_queued" : "job_running");
  status.after(make("div", {}, bar, text, make("div", { className: "row" }, cancel)));
  const show = (job) => {
    if (job.progress) {
      const { step, epoch, share, seconds_left: left } = job.progress;
      if (share === undefined) bar.removeAttribute("value"); // it then shows only that something runs
      else bar.value = share;
      const parts = [t(step), epoch && t("job_epoch", job.progress),
        left && t(left < 120 ? "job_seconds" : "job_minutes", { left: number(left < 120 ? left : left / 60) })];
      text.textContent = parts.filter(Boolean).join(", ");
    }
    if (card.dataset.state !== job.state) status.textContent = t(`job_${job.state}`);
    card.dataset.state = job.state;
  };
  show(first);
  const ask = async () => {
    if (!status.isConnected) return; // the card was filled again, or removed
    const job = (await apiJson(pathOf(name)).catch(() => ({ job: first }))).job;
    if (job && ["queued", "running"].includes(job.state)) {
      show(job);
      setTimeout(ask, POLL);
    } else {
      const inside = card.contains(document.activeElement);
      await refresh();
      if (card.isConnected) await fill(card);
      if (inside) card.querySelector("button:enabled")?.focus();
    }
  };
  setTimeout(ask, POLL);
}

/** The end of a job in plain words. */
function outcome(job, adapter) {
  if (job.state === "failed") {
    const reason = job.result?.reason ?? t("job_ended");
    return [make("span", { className: "fault", textContent: t("job_failed", { reason }) })];
  }
  if (job.state === "cancelled") return [t("job_cancelled")];
  const { words, base_errors: before, errors: after, kept, general, missed, start_errors, init_adapter } = job.result;
  const share = (errors) => number((PER * errors) / words, errors * PER < 10 * words ? 1 : 0);
  const result = before > words ? "result_nothing" : "result"; // insertions count too: more errors than words
  const rate = before > words ? number((100 * after) / words) : share(after);
  const sentences = [t(result, { per: PER, before: share(before), after: rate })];
  if (init_adapter && start_errors < before) {
    const fewer = number((100 * (before - start_errors)) / before);
    sentences.push(t("result_start", { start: init_adapter, fewer }));
  }
  if (general) {
    const [earlier, later] = general.map((errors) => number((PER * errors) / general[2], 1));
    sentences.push(t("result_general", { per: PER, before: earlier, after: later }));
  }
  const worse = general ? "result_costs" : "result_old_kept"; // computed only if the voice is recognised better
  sentences.push(t(kept ? (adapter ? "result_kept" : "result_deleted") : adapter ? worse : "result_not_kept"));
  if (kept && adapter && missed.length) sentences.push(t("result_missed", { words: missed.join(", ") }));
  return [make("span", { className: "result", textContent: sentences.join(" ") })];
}
