# One data frame in every form in which R writes it, and its values as CSV; run in this folder.
n <- 40L
set.seed(3)
wrapped <- function(x) .Internal(wrap_meta(x, FALSE, FALSE))
latin <- iconv(rep(c("K\u00f6ln", "Stra\u00dfe 9"), n / 2), "UTF-8", "latin1")
forms <- list(
  student = as.character(seq_len(n) + 100000L), # kept as the numbers until somebody looks at the texts
  school = wrapped(rep(c("\u00c5by skola", "007", "nine char", "", NA, "a\tb \\ \"c\"", "Z\u00fcrich", "x"), n / 8)),
  cohort = wrapped(rep(c(2023L, 2024L), n / 2)),
  score = rnorm(n, 500, 100),
  prior_score = wrapped(replace(rnorm(n, 500, 100), 7, NA)),
  up = seq_len(n), # kept as their ends
  down = n:1,
  real = as.numeric(1:n),
  written = as.character(c(1e5, 123456, 1e15, 0.1, 1 / 3, 1e-5, 1234567.25, -2.5e-7, 100, 1e300, NaN, NA, Inf, -Inf, rep(2.5, n - 14))),
  latin = latin,
  whole = replace(1:n, 3, NA),
  flag = rep(c(TRUE, FALSE, NA, TRUE), n / 4),
  level = factor(rep(c("low", "high", "mid", NA), n / 4), levels = c("low", "mid", "high"), ordered = TRUE),
  day = as.Date("2024-05-01") + 0:(n - 1L),
  moment = as.POSIXct("2024-05-01 10:30:00", tz = "UTC") + 60 * (0:(n - 1L))
)
forms <- structure(forms, class = "data.frame", row.names = .set_row_names(n))
save(forms, file = "forms_gzip.rda")
save(forms, file = "forms_bzip2.rda", compress = "bzip2")
save(forms, file = "forms_xz.rda", compress = "xz")
save(forms, file = "forms_version2.rda", version = 2)
save(forms, file = "forms_ascii.rda", ascii = TRUE)
saveRDS(forms, "forms_plain.rds", compress = FALSE)
file <- gzfile("forms_native.rds", "wb")
writeBin(serialize(forms, NULL, xdr = FALSE), file)
close(file)
write.csv(forms, "forms.csv", row.names = FALSE, fileEncoding = "UTF-8")

# What a workspace holds beside its data: a grouped table with its formula and a function, compiled code, environments that
# refer to each other, objects of classes, language, lists, complex numbers and bytes.
library(nlme)
inner <- new.env()
inner$self <- inner
inner$f <- compiler::cmpfun(function(x, ...) {
  for (i in x) if (i > 2) print(quote(a + b)) else switch(i, a = 1, b = "two")
  function(y) x + y
})
top <- compiler::cmpfun(function(x, ...) max(x))
environment(top) <- inner
own <- local({ unused <- rnorm(3); score ~ prior_score | school })
pupils <- data.frame(student = 1:12, school = factor(rep(c("B", "A", "C"), 4), levels = c("B", "C", "A")), cohort = 2024,
                     score = round(rnorm(12, 500, 50)), prior_score = round(rnorm(12, 500, 50)))
grouped <- groupedData(own, data = pupils, FUN = top, labels = list(x = "Prior", y = "Score"))
setClass("Point", representation(x = "numeric"))
things <- list(new("Point", x = 1), quote(if (a) b else c(1, 2)), expression(x + 1), 1i, as.raw(0:9), sum, `if`, globalenv(),
               asNamespace("stats"), baseenv(), as.pairlist(list(a = 1, 2)), NULL, inner)
labelled <- data.frame(student = c("1", "2", "3"), school = "A", cohort = 2024, score = 1:3 / 2, prior_score = 1:3)
labelled$band <- structure(c(2, 1, 9), labels = c(low = 1, high = 2, refused = 9), na_values = 9,
                           class = c("haven_labelled_spss", "haven_labelled", "vctrs_vctr", "double"))
save(inner, own, grouped, things, labelled, file = "grouped.rda", compress = "xz")
