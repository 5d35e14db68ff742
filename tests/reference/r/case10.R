# The lasting part of a school: lme4's nested model on the demo panel, cohorts 2021, 2023 and 2024.
# Run in tests/reference/r: Rscript case10.R. Writes ../case10_lasting.json. condsd: of the effect, coefficients known.
suppressMessages({ library(lme4); library(jsonlite) })
d <- read.csv("../../../data/demo.csv", colClasses = c(school_id = "character"))
d <- d[d$year %in% c(2021, 2023, 2024) & complete.cases(d[, c("score", "prior_score")]), ]
d$year <- factor(d$year)
d$prior <- d$prior_score - 400  # which changes no school effect and no likelihood, and conditions the search
told <- function(method) {
  f <- score ~ 0 + year + year:prior + (1 | school_id) + (1 | school_id:year)
  fit <- lmer(f, d, REML = method == "REML", control = lmerControl(
    optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e5), calc.derivs = FALSE))
  r <- ranef(fit, condVar = TRUE)$school_id
  sds <- as.data.frame(VarCorr(fit))
  list(logLik = as.numeric(logLik(fit)), sd_school = sds$sdcor[sds$grp == "school_id"],
       sd_school_year = sds$sdcor[sds$grp == "school_id:year"], sd_student = sigma(fit), rows = nrow(d),
       school = rownames(r), lasting = r[[1]], condsd = sqrt(as.numeric(attr(r, "postVar"))))
}
out <- list(ML = told("ML"), REML = told("REML"))
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE), "../case10_lasting.json")
