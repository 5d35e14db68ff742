"""Write schools.xls, a workbook of the old kind with two sheets; run in this folder, with xlwt installed."""

import xlwt

ROWS = [
    ("student", "school", "cohort", "score", "prior_score"),
    ("001", "00417", 2023, 512.5, 430),
    ("002", "Åby", 2024, None, 401.25),
    ("003", "Åby", 2024, 498, 402),
    ("004", None, 2024, 510, 400),
]

book = xlwt.Workbook()
sheet = book.add_sheet("Reading")
for row, values in enumerate(ROWS):
    for column, value in enumerate(values):
        if value is not None:
            sheet.write(row + 2, column, value)  # two blank rows above the header
book.add_sheet("Notes").write(0, 0, "made for a test")
book.save("schools.xls")
