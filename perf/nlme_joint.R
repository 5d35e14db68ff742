# The unstructured joint model with a residual variance a cohort, by lme. Arguments: this folder, file of doubles, its
# columns. lme needs more iterations than its default here.
source(file.path(commandArgs(TRUE)[1], "common.R"))
suppressPackageStartupMessages(library(nlme))
records <- read_records(arguments[2], arguments[3])
fit <- function() lme(score ~ 0 + cohort + cohort:prior_score, records, random = list(school = pdSymm(~ 0 + cohort)),
                      weights = varIdent(form = ~ 1 | cohort), method = "ML",
                      control = lmeControl(maxIter = 200, msMaxIter = 200))
ratios <- function(m) coef(m$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)[levels(records$cohort)]
serve(fit, function(m) list(
  loglik = as.numeric(logLik(m)), tau2 = unname(diag(unclass(getVarCov(m)))), sigma2 = unname((m$sigma * ratios(m))^2),
  coefficients = unname(fixef(m))))
