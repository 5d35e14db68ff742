/* What the pages do: figures enlarge, what is too wide can be scrolled by keyboard. Without JavaScript all can be read. */
document.addEventListener("DOMContentLoaded", function () {
  var dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.setAttribute("aria-label", "Enlarged figure");
  var close = dialog.appendChild(document.createElement("button"));
  close.type = "button";
  close.textContent = "Close";
  var large = dialog.appendChild(document.createElement("img"));
  close.addEventListener("click", function () { dialog.close(); });
  large.addEventListener("click", function () { dialog.close(); });
  document.body.append(dialog);

  document.querySelectorAll(".bd-article figure img").forEach(function (picture) {
    var number = picture.closest("figure").querySelector(".caption-number");
    var button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.setAttribute("aria-label", "Enlarge " + (number ? number.textContent.trim() : "the figure"));
    var placed = picture.closest("a") || picture;
    placed.replaceWith(button);
    var described = picture.alt;
    button.append(picture);
    button.addEventListener("click", function () {
      large.src = picture.src;
      large.alt = described;
      dialog.showModal();
    });
  });

  // The search knows words; the code of a school is looked for in the table of schools.
  var results = document.getElementById("search-results"), finder = document.querySelector(".school-finder");
  var sought = new URLSearchParams(location.search).get("q");
  if (results && finder && sought) {
    var link = document.createElement("a");
    link.className = "among-schools";
    link.href = finder.action + "?school=" + encodeURIComponent(sought);
    link.textContent = "Look for \u201c" + sought + "\u201d among the schools";
    var line = document.createElement("p");
    line.append(link);
    results.before(line);
  }

  var wide = ".pst-scrollable-table-container, .table-wrapper, .schools-table, .formula";
  function reach() {
    document.querySelectorAll(wide).forEach(function (box) {
      if (box.scrollWidth > box.clientWidth + 1) {
        var caption = box.querySelector("caption .caption-number");
        box.tabIndex = 0;
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", (caption ? caption.textContent.trim() : box.matches(".formula") ? "Formula" : "Table") + ", scrolls sideways");
      } else {
        box.removeAttribute("tabindex");
        box.removeAttribute("role");
        box.removeAttribute("aria-label");
      }
    });
  }
  reach();
  document.fonts.ready.then(reach);
  window.addEventListener("resize", reach);
});
