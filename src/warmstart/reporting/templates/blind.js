// Shows one pair at a time and keeps each vote at once, so that a closed window loses none.
(() => {
  "use strict";
  const page = document.querySelector("main").dataset.page;
  const pairs = [...document.querySelectorAll("article")];
  const buttons = [...document.querySelectorAll("[data-choice]")];
  const store = `warmstart votes ${page}`;
  const element = (id) => document.getElementById(id);

  const kept = () => {
    try {
      return JSON.parse(localStorage.getItem(store)) || {};
    } catch {
      return {}; // some browsers keep nothing for files: votes then last as long as the window
    }
  };
  const votes = kept();
  const open = () => pairs.findIndex((pair) => !votes[pair.dataset.pair]);
  let current = Math.max(0, open());

  const show = () => {
    pairs.forEach((pair, i) => { pair.hidden = i !== current; });
    const choice = votes[current + 1];
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.choice === choice)));
    element("back").disabled = current === 0;
    element("next").disabled = current === pairs.length - 1;
    const count = Object.keys(votes).length;
    const done = count === pairs.length ? " That was all: download your votes." : "";
    element("progress").textContent = `Pair ${current + 1} of ${pairs.length}, ${count} voted on.${done}`;
  };
  const go = (place) => {
    current = Math.min(Math.max(place, 0), pairs.length - 1);
    show();
    scrollTo(0, 0);
  };
  const vote = (choice) => {
    votes[current + 1] = choice;
    try {
      localStorage.setItem(store, JSON.stringify(votes));
    } catch { /* see above */ }
    go(current + 1);
  };
  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify({ page, votes }, null, 1)], { type: "application/json" }));
    link.download = "votes.json";
    link.click();
    URL.revokeObjectURL(link.href);
  };

  const keys = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 0: "same" };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (keys[event.key]) vote(keys[event.key]);
    else if (event.key === "Backspace") go(current - 1);
    else return;
    event.preventDefault();
  });
  buttons.forEach((button) => button.addEventListener("click", () => vote(button.dataset.choice)));
  element("back").addEventListener("click", () => go(current - 1));
  element("next").addEventListener("click", () => go(current + 1));
  element("download").addEventListener("click", download);
  show();
})();
