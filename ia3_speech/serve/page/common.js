/* Shared by all parts of the page: texts in the user's language, and the API with its key.

   When the lists of voices and adapters have been read again, the document gets an event "refreshed". */

export const $ = (id) => document.getElementById(id);
export const state = { base: "", language: "en", training: false, uploads: false, admin: false, data: [], adapters: [] };
let texts = {};
let language = "en";

/** A text of texts.json, with {names} filled in. */
export function t(name, values = {}) {
  const text = texts[language][name] ?? texts.en[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

/** `n` in the format of the language, with at most `digits` decimals. */
export const number = (n, digits = 0) => n.toLocaleString(language, { maximumFractionDigits: digits });

/** The sentences to read, in the language that the base writes. */
export const sentences = () => texts.sentences[state.language] ?? texts.sentences.en;

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A request to the server. Asks the user for a key if the server needs one; throws the server's message. */
export async function api(path, options = {}) {
  const key = sessionStorage.getItem("key");
  let answer;
  try {
    answer = await fetch(`v1/${path}`, { ...options, headers: key ? { Authorization: `Bearer ${key}` } : {} });
  } catch {
    throw new Error(t("unreachable"));
  }
  if (answer.status === 401) {
    await askForKey(Boolean(key));
    return api(path, options);
  }
  if (!answer.ok) {
    const error = (await answer.json().catch(() => null))?.error;
    const message = error?.message ?? `${answer.status} ${answer.statusText}`;
    throw new Error(error?.code === "name_taken" ? t("name_taken") : message);
  }
  return answer;
}

/** The path of a voice in the API. */
export const pathOf = (name) => `voices/${encodeURIComponent(name)}`;

export const apiJson = async (path, options) => (await api(path, options)).json();

export function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields))
    for (const item of Array.isArray(value) ? value : [value])
      if (item instanceof Blob) data.append(name, item, item.name || "speech.wav");
      else data.append(name, item);
  return data;
}

let asking = null;

function askForKey(wrong) {
  asking ??= new Promise((resolve) => {
    $("key-form").hidden = false;
    $("key-fault").textContent = wrong ? t("key_wrong") : "";
    $("key").focus();
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      const key = $("key").value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) { // it can't be in a header
        $("key-fault").textContent = t("key_wrong");
        return;
      }
      sessionStorage.setItem("key", key);
      $("sign-out").hidden = false;
      $("key").value = "";
      $("key-form").hidden = true;
      asking = null;
      resolve();
    };
  });
  return asking;
}

/** Save a file. */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Run a button's action: the button is disabled meanwhile, and an error is shown in `status`. */
export async function run(button, status, work) {
  const had = document.activeElement === button;
  button.disabled = true;
  status.classList.remove("fault");
  try {
    await work();
  } catch (error) {
    status.textContent = error.message;
    status.classList.add("fault");
  } finally {
    button.disabled = false;
    if (had && document.activeElement === document.body) button.focus();
  }
}

/** Read the lists of voices and adapters again. */
export async function refresh() {
  Object.assign(state, await apiJson("voices"));
  state.adapters = (await apiJson("adapters")).data.map((adapter) => adapter.id);
  document.dispatchEvent(new Event("refreshed"));
}

/** The languages of the page, by their codes. */
export async function loadTexts() {
  texts = await (await fetch("page/texts.json")).json();
  return texts.languages;
}

export function chooseLanguage(wanted) {
  language = wanted in texts.languages ? wanted : "en";
  localStorage.setItem("language", language);
  document.documentElement.lang = language;
  document.title = t("title");
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = t(element.dataset.recording === "true" ? "stop" : element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", t(element.dataset.label));
  return language;
}
