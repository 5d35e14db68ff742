# The unstructured joint model with one residual variance, by lmer. Arguments: this folder, file of doubles, its columns.
source(file.path(commandArgs(TRUE)[1], "common.R"))
suppressPackageStartupMessages(library(lme4))
records <- read_records(arguments[2], arguments[3])
serve(function() lmer(score ~ 0 + cohort + cohort:prior_score + (0 + cohort | school), records, REML = FALSE),
      function(m) list(loglik = as.numeric(logLik(m)), tau2 = unname(diag(VarCorr(m)$school)), sigma2 = sigma(m)^2,
                       coefficients = unname(fixef(m))))
