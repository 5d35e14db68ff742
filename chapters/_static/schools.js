/* A field above a table of schools that searches the first column, whatever its case and accents, and a choice of each
   column that data-choice names by its number. With data-sort the heads of columns sort. A page may
   be called with ?school=..., as the side bar's finder does. Without JavaScript the whole table stands. */
document.addEventListener("DOMContentLoaded", function () {
  function plain(text) {
    return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replaceAll("\u00df", "ss").trim();
  }
  function add(bar, name, label) {
    var field = bar.appendChild(document.createElement(name));
    field.setAttribute("aria-label", label);
    return field;
  }
  document.querySelectorAll(".schools-table").forEach(function (box) {
    var table = box.querySelector("table");
    var at = (box.dataset.choice || "").split(",").filter(Boolean);
    var rows = Array.from(table.tBodies[0].rows).map(function (row) {
      return { row: row, school: plain(row.cells[0].textContent),
        groups: at.map(function (k) { return row.cells[k].textContent; }) };
    });
    var bar = document.createElement("div");
    bar.className = "schools-filter";
    var search = add(bar, "input", "Search a school");
    search.type = "search";
    search.placeholder = "Search a school";
    var choices = at.map(function (k, which) {
      var head = table.tHead.rows[0].cells[k].textContent;
      var choice = add(bar, "select", head);
      choice.add(new Option("All " + head.toLowerCase().replace(/y$/, "ie") + "s", ""));
      new Set(rows.map(function (item) { return item.groups[which]; })).forEach(function (group) {
        choice.add(new Option(group));
      });
      return choice;
    });
    var count = bar.appendChild(document.createElement("span"));
    count.setAttribute("role", "status");
    function show() {
      var words = plain(search.value);
      var seen = 0;
      rows.forEach(function (item) {
        var fits = item.school.includes(words) && choices.every(function (choice, which) {
          return !choice.value || item.groups[which] === choice.value;
        });
        item.row.hidden = !fits;
        seen += fits;
      });
      count.textContent = seen.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " "
        + box.dataset.rows;
    }
    function sort(head, at) {
      var down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      function key(item) {
        var cell = item.row.cells[at];
        return "value" in cell.dataset ? cell.dataset.value : plain(cell.textContent);
      }
      rows.sort(function (a, b) {
        var one = key(a), two = key(b);
        if (one === "" || two === "") return (one === "") - (two === "");
        return down * (isNaN(one) || isNaN(two) ? one.localeCompare(two, "en", {numeric: true}) : one - two);
      });
      rows.forEach(function (item) { table.tBodies[0].append(item.row); });
    }
    if (box.dataset.sort) {
      Array.from(table.tHead.rows[0].cells).forEach(function (head, at) {
        var button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", function () { sort(head, at); });
      });
    }
    bar.addEventListener("input", show);
    box.before(bar);
    search.value = new URLSearchParams(location.search).get("school") || "";
    show();
  });
});
