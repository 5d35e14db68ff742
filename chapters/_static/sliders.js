/* Shrinkage and shift with sliders, in place of the static picture of the figure #fig-03-sliders. Plain SVG; nothing is
   fetched. Without JavaScript, and in print, the static picture stands. */
(function () {
  "use strict";

  /* Starting values and ranges, in score points (n: students). tests/pages/test_sliders.py compares them with those of the
     static picture, valib.pages.figures.sliders.START. */
  var START = { n: 25, tau: 15, sigma: 45, delta: -12, residual: -27 };
  var CONTROLS = [
    { name: "n", label: "Students of a school, n", min: 1, max: 200, step: 1, unit: "" },
    { name: "tau", label: "SD between schools, \u03c4", min: 0, max: 30, step: 0.5, unit: "points" },
    { name: "sigma", label: "SD of students within a school, \u03c3", min: 5, max: 80, step: 1, unit: "points" },
    { name: "delta", label: "Shift of the system, \u03b4", min: -30, max: 30, step: 1, unit: "points" },
    { name: "residual", label: "Mean residual of one school, r", min: -50, max: 50, step: 1, unit: "points" }
  ];
  var LOW = -60, HIGH = 60;

  /* Equations eq-03-blup, eq-03-condvar and eq-04-shift, for schools of one size whose effects have the mean delta:
     absorbed shrinks to 0, estimated to the shift. */
  function shrinkageAndShift(at) {
    var between = at.tau * at.tau, within = at.sigma * at.sigma / at.n;
    var lambda = between / (between + within);
    return {
      lambda: lambda,
      se: Math.sqrt(between * (1 - lambda)),
      sdResidual: Math.sqrt(between + within),
      sdPredicted: Math.sqrt(lambda * between),
      meanAbsorbed: lambda * at.delta,
      meanEstimated: at.delta,
      lost: (1 - lambda) * at.delta,
      absorbed: lambda * at.residual,
      estimated: at.delta + lambda * (at.residual - at.delta)
    };
  }

  function text(x, digits, sign) {
    var out = Math.abs(x).toFixed(digits);
    var zero = Number(out) === 0;
    return (zero ? "" : x < 0 ? "\u2212" : sign ? "+" : "") + out;
  }

  function svg(name, attributes, parent) {
    var node = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.keys(attributes).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    return parent ? parent.appendChild(node) : node;
  }

  function html(name, attributes, parent, content) {
    var node = document.createElement(name);
    Object.keys(attributes).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    if (content) node.textContent = content;
    return parent.appendChild(node);
  }

  var WIDTH = 640, HEIGHT = 300, BASE = 215, TOP = 30, SIDE = 22;

  function place(x) { return SIDE + (x - LOW) / (HIGH - LOW) * (WIDTH - 2 * SIDE); }

  function bell(mean, sd, peak) {
    var points = [];
    for (var k = 0; k <= 300; k += 1) {
      var x = LOW + (HIGH - LOW) * k / 300, z = (x - mean) / sd;
      points.push(place(x).toFixed(1) + "," + (BASE - (BASE - TOP) * Math.exp(-z * z / 2) / sd / peak).toFixed(1));
    }
    return points.join(" ");
  }

  function draw(picture, at, found) {
    picture.replaceChildren();
    svg("title", {}, picture).textContent = "Schools' true effects and what is predicted of them";
    var thin = 1.2; // points: a distribution narrower than this is drawn as one of this width
    var curves = [
      { name: "true", mean: at.delta, sd: at.tau },
      { name: "residuals", mean: at.delta, sd: found.sdResidual },
      { name: "absorbed", mean: found.meanAbsorbed, sd: found.sdPredicted },
      { name: "estimated", mean: found.meanEstimated, sd: found.sdPredicted }
    ];
    curves.forEach(function (curve) { curve.sd = Math.max(curve.sd, thin); });
    var peak = Math.max.apply(null, curves.map(function (curve) { return 1 / curve.sd; }));
    svg("line", { x1: SIDE, x2: WIDTH - SIDE, y1: BASE, y2: BASE, "class": "axis" }, picture);
    for (var x = LOW; x <= HIGH; x += 20) {
      svg("line", { x1: place(x), x2: place(x), y1: BASE, y2: BASE + 5, "class": "axis" }, picture);
      svg("text", { x: place(x), y: BASE + 18, "text-anchor": "middle" }, picture).textContent = text(x, 0);
    }
    [[0, "baseline"], [at.delta, "shift"]].forEach(function (mark, k) {
      svg("line", { x1: place(mark[0]), x2: place(mark[0]), y1: TOP - 8, y2: BASE, "class": "mark" }, picture);
      var left = k === 0 ? at.delta > 0 : at.delta < 0;
      svg("text", { x: place(mark[0]) + (left ? -4 : 4), y: TOP - 12, "text-anchor": left ? "end" : "start" },
        picture).textContent = k === 1 && at.delta === 0 ? "" : mark[1];
    });
    curves.forEach(function (curve) {
      svg("polyline", { points: bell(curve.mean, curve.sd, peak), "class": "curve " + curve.name }, picture);
    });
    var row = BASE + 42;
    [["residuals", at.residual, "mean residual"], ["absorbed", found.absorbed, "absorbed"],
      ["estimated", found.estimated, "estimated"]].forEach(function (mark, k) {
      var y = row + 14 * k;
      svg("line", { x1: place(at.residual), x2: place(mark[1]), y1: y, y2: y, "class": "pull " + mark[0] }, picture);
      svg("circle", { cx: place(mark[1]), cy: y, r: 4.5, "class": "school " + mark[0] }, picture);
      var after = mark[1] < 15;
      svg("text", { x: place(after ? Math.max(mark[1], at.residual) : Math.min(mark[1], at.residual)) + (after ? 9 : -9),
        y: y + 4, "text-anchor": after ? "start" : "end" }, picture).textContent = mark[2];
    });
  }

  function say(body, at, found) {
    body.replaceChildren();
    [["Shrinkage factor, the reliability of a school", "\u03bb = " + text(found.lambda, 3), ""],
      ["Mean of the predictions, shift absorbed", text(found.meanAbsorbed, 1, true), "absorbed"],
      ["Mean of the predictions, shift estimated", text(found.meanEstimated, 1, true), "estimated"],
      ["Part of the shift that absorbing does not show", text(found.lost, 1, true), ""],
      ["The one school, shift absorbed", text(found.absorbed, 1, true), "absorbed"],
      ["The one school, shift estimated", text(found.estimated, 1, true), "estimated"],
      ["Standard error of the school's prediction, all else known", text(found.se, 1), ""]].forEach(function (line) {
      var row = html("tr", {}, body);
      html("th", { scope: "row", "class": line[2] }, row, line[0]);
      html("td", {}, row, line[1]);
    });
  }

  function start(figure, number) {
    var still = figure.querySelector("img, svg, object");
    if (!still) return;
    while (still.parentNode !== figure) still = still.parentNode; // a link or a button around the picture
    var box = document.createElement("div"), at = Object.assign({}, START);
    box.className = "sliders";
    still.before(box);
    still.classList.add("sliders-still");
    var picture = svg("svg", { viewBox: "0 0 " + WIDTH + " " + HEIGHT, role: "img" }, box);
    var key = html("ul", { "class": "sliders-key" }, box);
    [["true", "true effects"], ["residuals", "mean residuals"], ["absorbed", "predictions, shift absorbed"],
      ["estimated", "predictions, shift estimated"]].forEach(function (entry) {
      html("li", { "class": entry[0] }, key, entry[1]);
    });
    var form = html("form", { "aria-label": "Values of the figure" }, box), fields = {};
    CONTROLS.forEach(function (control) {
      var id = "sliders-" + number + "-" + control.name, row = html("div", {}, form);
      html("label", { "for": id }, row, control.label);
      var field = html("input", { id: id, type: "range", min: control.min, max: control.max, step: control.step }, row);
      var shown = html("output", { "for": id, "aria-hidden": "true" }, row);
      fields[control.name] = { field: field, shown: shown, unit: control.unit };
      field.addEventListener("input", function () { at[control.name] = Number(field.value); update(); });
    });
    html("button", { type: "button" }, form, "Start values").addEventListener("click", function () {
      Object.assign(at, START);
      update();
    });
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    var table = html("table", { "class": "sliders-said" }, box);
    html("caption", {}, table, "What follows from these values (score points)");
    var body = html("tbody", { "aria-live": "polite" }, table);
    function update() {
      var found = shrinkageAndShift(at);
      Object.keys(fields).forEach(function (name) {
        var one = fields[name], digits = name === "tau" ? 1 : 0, value = text(at[name], digits, name === "delta");
        one.field.value = at[name];
        one.field.setAttribute("aria-valuetext", value + " " + (one.unit || "students"));
        one.shown.textContent = value;
      });
      draw(picture, at, found);
      picture.setAttribute("aria-label", "Distributions over schools of true effects around " + text(at.delta, 0, true)
        + ", of predictions with the shift absorbed around " + text(found.meanAbsorbed, 1, true)
        + ", and with the shift estimated around " + text(found.meanEstimated, 1, true) + " points");
      say(body, at, found);
    }
    update();
  }

  if (typeof module !== "undefined" && module.exports) {
    module.exports = { shrinkageAndShift: shrinkageAndShift, START: START, CONTROLS: CONTROLS };
  } else {
    document.addEventListener("DOMContentLoaded", function () {
      setTimeout(function () { // when other scripts have put their buttons around pictures
        document.querySelectorAll("figure[id$='-sliders']").forEach(start);
      });
    });
  }
})();
