# Data frames as R users save them; run in this folder.
schools <- data.frame(
  student = c("001", "002", "003", "004"), school = factor(c("00417", "\u00c5by", "\u00c5by", NA)),
  cohort = c(2023L, 2024L, 2024L, 2024L), score = c(512.5, NA, 498, 510), prior_score = c(430, 401.25, 402, 400),
  girl = c(TRUE, FALSE, NA, TRUE), sat = as.Date(c("2023-05-09", "2024-05-14", NA, "2024-05-14")),
  stringsAsFactors = FALSE)
save(schools, file = "schools.rda")
saveRDS(schools, "schools.rds")
saveRDS(1:3, "number.rds")

# A workspace: a tibble, a selection with the row names of the whole, and things that are no table.
tibble <- schools
class(tibble) <- c("tbl_df", "tbl", "data.frame")
later <- schools[schools$cohort == 2024, ]
double <- function(x) 2 * x
counts <- 1:3
save(tibble, later, double, counts, file = "several.rda", compress = "xz")
