"""Names of schools, columns, levels and files that try to become code, break a page, or hide."""

from __future__ import annotations

SCHOOLS = [
    # HTML
    "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "\"><svg onload=alert(3)>",
    "</td></table><h1>x</h1>",
    "<a href=\"javascript:alert(4)\">x</a>", "<iframe src=//evil.example></iframe>", "<style>*{display:none}</style>",
    "&lt;b&gt; &amp; &#60;", "<!-- comment", "--> <b>", "<![CDATA[x]]>", "<b>Bold</b>", "' onmouseover='alert(5)",
    # LaTeX
    "\\input{/etc/passwd}", "\\write18{touch SENTINEL}", "\\immediate\\write18{id}", "50% of {x", "}}}", "{{{",
    "^^M^^J",
    "$\\frac{1}{0}$", "$x^2", "$$", "\\end{document}", "\\begin{verbatim}", "#1 & _x_ ~ ^y", "\\catcode`\\%=0", "\\",
    "\\\\",
    "\\href{file:///etc/passwd}{x}", "\\csname end\\endcsname",
    # Markdown and MyST
    "[link](javascript:alert(6))", "![x](http://evil.example/x.png)", "```{raw} html", "{glue:text}`shift`", "`code`",
    "{eval-rst}", "```{eval-rst}\n.. raw:: html\n```", ":::{warning}\nx\n:::", "::::", "a|b", "| a | b |",
    "# Heading",
    "1. one", "- item", "* * *", "---", "> quote", "**bold** __x__", "[^1]", "[^1]: x", "(target)=", "% comment",
    "<http://evil.example>", "http://evil.example/x", "{download}`/etc/passwd`", "{doc}`intro`", "[[x]]", "+++",
    "~~x~~",
    "${HOME}", "${7*7}", "$(touch SENTINEL)", "`touch SENTINEL`",
    # Jinja and other templates
    "{{ 7*7 }}", "{% raw %}", "{# x #}", "{{ config }}", "<%= 7*7 %>", "#{7*7}", "%s %d %(x)s", "{0} {x}",
    "{0.__class__}",
    # spreadsheets
    "=1+1", "=cmd|'/c calc'!A0", "+49 30", "-1+1", "@SUM(A1)",
    # control, direction, width
    "two\nlines", "tab\there", "carriage\rreturn", "bell\x07 escape\x1b[31m", "nul\x00byte", "\u202eesrever",
    "a\u2066b",
    "\u200fright", "שלום בית ספר", "مدرسة", "zero\u200bwidth", "\u200b\u200c", "\ufeffbom", "e\u0301cole",
    "a" + "\u0300" * 60,
    "🏫👩‍🏫", "学校", "\u2028line", "soft\u00adhyphen", "\u3164", "\u00a0nbsp\u00a0", "École «Ü»", "ﬁ ligature", "Ⅷ ½",
    # length and emptiness
    "L" * 500, "long word " * 50, "W" * 61, ".", "..", "'", "\"", "0", "nan", "None", "NULL", "NA", "N/A", "true",
    "-", "_",
    # paths, and names that differ little
    "../../x", "/etc/passwd", "C:\\Windows", "con", "file:///etc/passwd", "St Mary", "ST MARY", "St  Mary",
    "St\u00a0Mary",
    "St. Mary's & Co_50%", "00417", "417",
]  # fmt: skip
LEVELS = ["<script>alert(7)</script>", "\\input{/etc/passwd}", "{{ 7*7 }} | `x` {glue:text}`shift`", "=1+1\n$x$",
          "plain"]
COLUMNS = {"student": "Pupil <b>ID</b>", "school": "School | {{ 7*7 }}", "cohort": "Year\n=1+1",
           "score": "\\input{y5} $x^2$", "prior_score": "Y3 `x` {glue:text}`shift`"}  # fmt: skip
COVARIATE = "<img src=x onerror=alert(8)> | {{ 7*7 }} \\input{z}"
TITLE = ("Schools <script>alert(9)</script> {{ 7*7 }} \\input{/etc/passwd} $x^2$ `x` \"q\" 'p' {glue:text}`shift` "
         "50% _a_ \nline \u202eesrever\u202c end")  # fmt: skip
FOLDER = "with blanks 'and' \"quotes\" é $(touch SENTINEL)"
FILE = "our {{ 7*7 }} <b>pupils &amp; \\input{x} `y` $z$ ü.parquet"
FOLLOWED = "\\input{/etc/passwd}"
