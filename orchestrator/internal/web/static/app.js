// What the pages cannot do without a script: stay up to date, move by keys, and check a
// workflow while somebody types. Everything else works without it.
"use strict";

// become makes one element like another of the same kind, and keeps what has not changed:
// focus, selection, what is typed, what is open, and where it was scrolled to.
function become(old, now) {
  for (const {name, value} of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const {name} of [...old.attributes]) {
    if (!now.hasAttribute(name) && !(name === "open" && old.localName === "details") && name !== "class") old.removeAttribute(name);
  }
  if (!now.hasAttribute("class") && old.className && !old.classList.contains("at")) old.removeAttribute("class");
  if (old.localName === "textarea" || old.localName === "select") return;
  const byId = new Map();
  for (const child of old.children) if (child.id) byId.set(child.id, child);
  let at = old.firstChild;
  for (const next of [...now.childNodes]) {
    const same = next.id && byId.get(next.id);
    if (same) {
      if (same !== at) old.insertBefore(same, at); else at = at.nextSibling;
      become(same, next);
    } else if (at && at.nodeType === next.nodeType && at.nodeName === next.nodeName && !at.id && !next.id) {
      const here = at;
      at = at.nextSibling;
      if (here.nodeType === Node.ELEMENT_NODE) become(here, next);
      else if (here.data !== next.data) here.data = next.data;
    } else if (at && at.nodeType === Node.TEXT_NODE && next.nodeType === Node.ELEMENT_NODE && at.nextSibling?.nodeName === next.nodeName && !at.nextSibling.id && !next.id) {
      const here = at.nextSibling; // space that is not there any more is no reason to make all that follows anew
      at.remove();
      at = here.nextSibling;
      become(here, next);
    } else {
      old.insertBefore(document.importNode(next, true), at);
    }
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

// live keeps the main part as the server says that it is.
function live(main) {
  const source = new EventSource(location.href);
  source.onmessage = event => {
    const page = new DOMParser().parseFromString("<main>" + JSON.parse(event.data) + "</main>", "text/html");
    const tail = document.querySelector("[data-tail]");
    const follows = !tail || tail.scrollHeight - tail.scrollTop - tail.clientHeight < 40;
    become(main, Object.assign(page.querySelector("main"), {id: main.id}));
    main.tabIndex = -1;
    main.dataset.live = "";
    if (follows) toEnd();
  };
  const state = document.getElementById("live");
  source.onopen = () => { state.hidden = true; };
  source.onerror = () => {
    state.hidden = false;
    state.textContent = source.readyState === EventSource.CLOSED ? "Not live any more: load the page again." : "Not live: connecting again\u2026";
  };
  addEventListener("beforeunload", () => source.close()); // or its end would be an error of a page that is left
}

function toEnd() {
  const tail = document.querySelector("[data-tail]");
  if (tail) tail.scrollTop = tail.scrollHeight;
}

// editor checks a workflow while it is typed, and shows what is wrong where it is.
function editor(form) {
  const text = form.querySelector("textarea"), sheet = form.querySelector(".sheet pre"), gutter = form.querySelector(".gutter");
  const report = document.getElementById("report");
  const scroll = () => { sheet.scrollTop = gutter.scrollTop = text.scrollTop; sheet.scrollLeft = text.scrollLeft; };
  const number = () => {
    const lines = text.value.split("\n").length;
    while (gutter.children.length < lines) gutter.append(Object.assign(document.createElement("span"), {textContent: gutter.children.length + 1}));
    while (gutter.children.length > lines) gutter.lastChild.remove();
  };
  let timer, asked = 0;
  const check = async () => {
    const mine = ++asked;
    const answer = await fetch("/edit/check", {method: "POST", body: new URLSearchParams(new FormData(form))});
    if (mine !== asked || !answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    sheet.replaceChildren(...page.querySelector(".sheet pre").childNodes);
    gutter.replaceChildren(...page.querySelector(".gutter").childNodes);
    report.replaceChildren(...page.querySelector("#report").childNodes);
    text.setAttribute("aria-invalid", String(report.querySelector(".problems") !== null));
    scroll();
  };
  const typed = () => {
    number();
    sheet.replaceChildren();
    clearTimeout(timer);
    timer = setTimeout(check, 350);
  };
  text.addEventListener("input", typed);
  form.elements.lenient.addEventListener("change", check);
  text.addEventListener("scroll", scroll);
  text.addEventListener("keydown", event => { // a tab indents; Escape first leaves the editor by tab
    if (event.key === "Escape") text.dataset.leave = "1";
    else if (event.key === "Tab" && !event.shiftKey && !text.dataset.leave) {
      event.preventDefault();
      text.setRangeText("  ", text.selectionStart, text.selectionEnd, "end");
      text.dispatchEvent(new Event("input"));
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  text.addEventListener("blur", () => delete text.dataset.leave);
  document.addEventListener("click", event => {
    const to = event.target.closest("[data-line]");
    if (!to) return;
    event.preventDefault();
    const before = text.value.split("\n").slice(0, to.dataset.line - 1);
    const offset = before.reduce((n, line) => n + line.length + 1, 0) + Number(to.dataset.column) - 1;
    text.focus();
    text.setSelectionRange(offset, offset);
    text.scrollTop = Math.max(0, (to.dataset.line - 6) * 20);
  });
  if (text.value !== text.defaultValue) typed(); // before this script ran, or on the page that one comes back to
  scroll();
}

// keys move without a mouse.
function keys() {
  let go = false, row = -1;
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input,textarea,select,dialog")) return;
    if (go) {
      go = false;
      const to = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (to) location.assign(to.href);
      return;
    }
    switch (event.key) {
    case "g": go = true; setTimeout(() => { go = false; }, 1500); break;
    case "?": document.getElementById("keys")?.showModal(); break;
    case "/": {
      const field = document.querySelector(".filter input, .filter select");
      if (field) { event.preventDefault(); field.focus(); }
      break;
    }
    case "j": case "k": {
      const rows = [...document.querySelectorAll("main tbody tr:has(a)")];
      if (!rows.length) break;
      row = Math.min(rows.length - 1, Math.max(0, row + (event.key === "j" ? 1 : -1)));
      for (const one of rows) one.classList.remove("at");
      rows[row].classList.add("at");
      rows[row].querySelector("a").focus({preventScroll: true});
      rows[row].scrollIntoView({block: "nearest"});
    }
    }
  });
}

document.addEventListener("submit", event => {
  const ask = event.submitter?.dataset.confirm;
  if (ask && !confirm(ask)) event.preventDefault();
});
for (const main of document.querySelectorAll("main[data-live]")) live(main);
for (const form of document.querySelectorAll("form.edit")) editor(form);
keys();
toEnd();
