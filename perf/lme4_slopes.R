# lmer with a random slope of the prior score and its default optimiser. Arguments: this folder, file of doubles, its columns.
source(file.path(commandArgs(TRUE)[1], "common.R"))
suppressPackageStartupMessages(library(lme4))
records <- read_records(arguments[2], arguments[3])
records$prior <- (records$prior_score - 430) / 70  # in which lmer's search is well conditioned
serve(function() lmer(score ~ prior + (prior | school), records, REML = FALSE), function(m) list(
  loglik = as.numeric(logLik(m)), sigma2 = sigma(m)^2, variances = diag(as.matrix(VarCorr(m)$school)),
  coefficients = unname(fixef(m))))
