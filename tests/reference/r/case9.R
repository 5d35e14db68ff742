# Arithmetic left of ~ (and what I() holds right of it), and the order of a factor's levels: lme4 on the records of
# tests/cases. Run in tests/reference/r: Rscript case9.R. Writes ../case9_outcomes.json.
suppressMessages(library(lme4))
options(digits = 15)

told <- function(formula, data, offset = NULL) {
  f <- as.formula(paste(formula, "+ (1 | school)"))
  environment(f) <- environment()
  tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e5), calc.derivs = FALSE)
  fit <- if (is.null(offset)) lmer(f, data, REML = FALSE, control = tight)
         else lmer(f, data, REML = FALSE, control = tight, offset = offset)
  u <- ranef(fit)$school
  list(formula = formula, fixef = as.list(fixef(fit)), se = as.list(sqrt(diag(as.matrix(vcov(fit))))),
       tau2 = VarCorr(fit)$school[1], sigma2 = sigma(fit)^2, logLik = as.numeric(logLik(fit)),
       effects = setNames(as.list(u[[1]]), rownames(u)))
}

json <- function(x, indent = "") {
  if (is.list(x)) {
    body <- mapply(function(n, v) sprintf("%s \"%s\": %s", indent, gsub("\"", "\\\\\"", n), json(v, paste0(indent, " "))),
                   names(x), x)
    return(paste0("{\n", paste(body, collapse = ",\n"), "\n", indent, "}"))
  }
  if (is.character(x)) return(sprintf("\"%s\"", x))
  formatC(x, digits = 12, format = "g")
}

codes <- c(student = "character", school = "character")
records <- read.csv("../../cases/01-gain-score-left-side/records.csv", colClasses = codes)
later <- records[records$cohort == 2021, ]
formulas <- c("score - prior_score ~ 1", "I(score - prior_score) ~ 1", "score - 500 ~ prior_score", "score^2 ~ prior_score",
              "log(score) ~ prior_score", "(score - prior_score) / 10 ~ I(prior_score - 400)", "-score + 2 * prior_score ~ prior_score",
              "score - prior_score ~ prior_score", "sqrt(score) * prior_score / 100 - 5 ~ prior_score", "score ~ I(prior_score - 400)",
              "score ~ I(prior_score^2) + prior_score - 1", "score ~ log(prior_score) * I(prior_score / 100) - log(prior_score)")
out <- list(gain = setNames(lapply(formulas, told, data = later), formulas))

# The benchmark of cohort 2021: an lme4 baseline with one effect a school and cohort, its coefficients as the offset.
base <- records[records$cohort %in% c(2016, 2017), ]
first <- base
first$school <- paste(first$school, first$cohort)
b <- fixef(lmer(score - prior_score ~ 1 + (1 | school), first, REML = FALSE))[[1]]
out$benchmark <- told("score - prior_score ~ 1", later, rep(b, nrow(later)))
out$baseline_intercept <- b

clean <- read.csv("../../cases/02-number-with-a-stray-mark/clean.csv", colClasses = codes)
out$number <- told("score ~ prior_score + p", clean[clean$cohort == 2021, ])

held <- new.env()
load("../../cases/11-rda-factor-order/c30.rda", envir = held)
frame <- get(ls(held)[1], envir = held)
names(frame)[names(frame) == "year"] <- "cohort"
out$order <- told("score ~ prior_score + region", frame[frame$cohort == 2021, ])
writeLines(json(out), "../case9_outcomes.json")
