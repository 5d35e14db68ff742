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

# Columns that are not what their storage says: bit64's whole numbers in the bits of doubles, haven's SPSS columns with
# values declared missing, one column of a matrix (as from scale()), and cells that hold lists, matrices or data frames.
bit64 <- function(low, high) structure(readBin(writeBin(as.vector(rbind(low, high)), raw()), "double", length(low)),
                                       class = "integer64")
spss <- function(x, ...) structure(x, ..., labels = c(refused = -9),
                                   class = c("haven_labelled_spss", "haven_labelled", "vctrs_vctr", "double"))
kinds <- data.frame(cohort = rep(2024L, 4))
kinds$score <- spss(c(512.5, -9, 498, 510), na_values = c(-9, -8))
kinds$prior_score <- spss(c(430, 401.25, 999, 400), na_range = c(900, Inf))
kinds$student <- bit64(1:4, c(2L, 2L, 2L, 2L))
kinds$school <- bit64(c(417L, 5L, -3L, 0L), c(0L, 0L, -1L, NA))
kinds$scaled <- matrix(c(0.5, -0.5, 1, -1), 4)
kinds$lists <- I(list(1, 1:2, NULL, 3))
kinds$wide <- matrix(1:8, 4)
kinds$frame <- data.frame(a = 1:4)
doubled <- schools
names(doubled)[6] <- "score"
save(kinds, doubled, file = "kinds.rda")
