/* The list of schools: a field to search by name. Without JavaScript the whole list stands. */
document.addEventListener("DOMContentLoaded", function () {
  document.querySelectorAll(".schools-list").forEach(function (box) {
    var rows = Array.from(box.querySelectorAll("tbody tr"));
    var bar = document.createElement("div");
    bar.className = "schools-filter";
    var search = document.createElement("input");
    search.type = "search";
    search.placeholder = "Search a school";
    search.setAttribute("aria-label", "Search a school");
    var count = document.createElement("span");
    count.setAttribute("role", "status");
    function show() {
      var words = search.value.toLowerCase().trim();
      var seen = 0;
      rows.forEach(function (row) {
        var fits = row.cells[0].textContent.toLowerCase().indexOf(words) >= 0;
        row.hidden = !fits;
        seen += fits ? 1 : 0;
      });
      count.textContent = seen.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " schools";
    }
    search.addEventListener("input", show);
    bar.append(search, count);
    box.parentNode.insertBefore(bar, box);
    show();
  });
});
