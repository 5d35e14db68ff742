/* The table of schools: a field to search by name and a choice of the cohort. Without JavaScript the whole table stands. */
document.addEventListener("DOMContentLoaded", function () {
  document.querySelectorAll(".schools-table").forEach(function (box) {
    var table = box.querySelector("table");
    if (!table || !table.tBodies.length) return;
    var rows = Array.from(table.tBodies[0].rows).map(function (row) {
      return { row: row, school: row.cells[0].textContent.toLowerCase(), cohort: row.cells[1].textContent };
    });
    var bar = document.createElement("div");
    bar.className = "schools-filter";
    var search = document.createElement("input");
    search.type = "search";
    search.placeholder = "Search a school";
    search.setAttribute("aria-label", "Search a school");
    var choice = document.createElement("select");
    choice.setAttribute("aria-label", "Cohort");
    var cohorts = Array.from(new Set(rows.map(function (item) { return item.cohort; })));
    [""].concat(cohorts).forEach(function (cohort) {
      var option = document.createElement("option");
      option.value = cohort;
      option.textContent = cohort || "All cohorts";
      choice.appendChild(option);
    });
    var count = document.createElement("span");
    count.setAttribute("role", "status");
    function show() {
      var words = search.value.toLowerCase().trim();
      var seen = 0;
      rows.forEach(function (item) {
        var fits = item.school.indexOf(words) >= 0 && (!choice.value || item.cohort === choice.value);
        item.row.hidden = !fits;
        seen += fits ? 1 : 0;
      });
      count.textContent = seen.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " rows";
    }
    search.addEventListener("input", show);
    choice.addEventListener("change", show);
    bar.append(search, choice, count);
    box.parentNode.insertBefore(bar, box);
    show();
  });
});
