// Draws each figure when it comes into view, in the colors of the style sheet, and again when those change.
(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const config = { responsive: true, displayModeBar: false, typesetMath: false, showTips: false };
  const narrow = 560;

  const colored = (value, styles) => {
    if (typeof value === "string") {
      const variable = /^var\((--[a-z-]+)\)$/.exec(value);
      return variable ? styles.getPropertyValue(variable[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => colored(item, styles));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, colored(item, styles)]));
    }
    return value;
  };

  const draw = (box) => {
    const figure = colored(figures[box.dataset.figure], getComputedStyle(root));
    for (const trace of figure.data) {
      if (box.clientWidth < narrow && trace.meta) trace.textposition = trace.meta.narrow;
    }
    Plotly.react(box, figure.data, figure.layout, config);
    box.classList.add("drawn");
  };

  const boxes = [...document.querySelectorAll("[data-figure]")];
  const visible = (box) => box.clientWidth > 0;
  const redraw = () => boxes.filter((box) => box.classList.contains("drawn") && visible(box)).forEach(draw);
  const drawNew = () => boxes.filter((box) => !box.classList.contains("drawn") && visible(box)).forEach(draw);

  drawNew();
  document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", drawNew));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia(`(max-width: ${narrow}px)`).addEventListener("change", redraw);

  // On paper: light colors, and nothing folded away.
  let opened = [];
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((part) => { part.open = true; });
    drawNew();
    redraw();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    opened.forEach((part) => { part.open = false; });
    redraw();
  });
})();
