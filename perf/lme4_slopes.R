# lmer with a random slope and its default optimiser. Arguments: this folder, file of doubles, its columns, formula.
source(file.path(commandArgs(TRUE)[1], "common.R"))
suppressPackageStartupMessages(library(lme4))
records <- read_records(arguments[2], arguments[3])
model <- as.formula(paste(arguments[4], "+ (1 + prior | school)"))
serve(function() lmer(model, records, REML = FALSE), function(m) list(
  loglik = as.numeric(logLik(m)), tau2 = diag(as.matrix(VarCorr(m)$school)), sigma2 = sigma(m)^2,
  coefficients = unname(fixef(m))))
