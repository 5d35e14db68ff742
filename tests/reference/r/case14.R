# Random slopes of two cohorts at once: nlme with a residual variance of each cohort, lme4 with one for both.
# Run in tests/reference/r: Rscript case14.R. Writes ../case14_slope_pairs.json.
# exam: its students split by their row in the school, first, third .. and second, fourth .., as two cohorts; schools are
# moved in the second by what their place in the order of the file says. egsingle: years 3 and 4 of data/egsingle_cohorts.csv.
Sys.setenv(OMP_NUM_THREADS = "1", OPENBLAS_NUM_THREADS = "1")
suppressMessages({ library(nlme); library(lme4); library(jsonlite) })
exam <- read.csv("../../../data/exam.csv")
row <- ave(seq_len(nrow(exam)), exam$school, FUN = seq_along); place <- as.integer(factor(exam$school)) - 1
moved <- 0.6 * ((place * 37) %% 65 / 65 - 0.5) + 0.3 * ((place * 23) %% 65 / 65 - 0.5) * exam$standLRT
exam <- data.frame(school = factor(exam$school), score = exam$normexam + (row %% 2 == 0) * moved, prior = exam$standLRT,
  cohort = factor(2 - row %% 2))
eg <- read.csv("../data/egsingle_cohorts.csv"); eg <- eg[eg$year %in% c(3, 4), ]
egsingle <- data.frame(school = factor(eg$school_id), score = eg$score, prior = eg$prior_score, cohort = factor(eg$year - 2))
fixed <- score ~ 0 + cohort + cohort:prior
order4 <- c("cohort1", "cohort1:prior", "cohort2", "cohort2:prior")
free <- function(data, method) {
  control <- lmeControl(opt = "optim", maxIter = 500, msMaxIter = 2000, tolerance = 1e-12, msTol = 1e-14, niterEM = 200, optimMethod = "BFGS", reltol = 1e-15)
  fit <- lme(fixed, random = ~ 0 + cohort + cohort:prior | school, weights = varIdent(form = ~ 1 | cohort), data = data,
    method = method, control = control)
  ratio <- coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)[c("1", "2")]
  r <- as.matrix(ranef(fit))[, order4]; V <- as.matrix(getVarCov(fit))[order4, order4]
  list(logLik = as.numeric(logLik(fit)), n = nrow(data), fixef = as.list(fixef(fit)[order4]),
    vcov = unname(fit$varFix[order4, order4]), sigma2 = unname((fit$sigma * ratio)^2), G = unname(unclass(V)[, ]),
    group = rownames(r), effects = unname(r))
}
common <- function(data, REML) {
  control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e5), calc.derivs = FALSE)
  formula <- score ~ 0 + cohort + cohort:prior + (0 + cohort + cohort:prior | school)
  fit <- lmer(formula, data, REML = REML, control = control)
  fit <- lmer(formula, data, REML = REML, control = control, start = getME(fit, "theta"))
  V <- as.matrix(VarCorr(fit)$school)[order4, order4]; r <- ranef(fit)$school
  list(logLik = as.numeric(logLik(fit)), n = nrow(data), fixef = as.list(fixef(fit)[order4]), sigma2 = sigma(fit)^2,
    G = unname(V), group = rownames(r), effects = unname(as.matrix(r[, order4])))
}
out <- list(versions = list(R = R.version.string, nlme = as.character(packageVersion("nlme")), lme4 = as.character(packageVersion("lme4"))))
for (name in c("exam", "egsingle")) for (method in c("ML", "REML")) {
  data <- get(name)
  out[[paste0(name, "_free_", method)]] <- free(data, method)
  out[[paste0(name, "_common_", method)]] <- common(data, method == "REML")
}
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE, null = "null"), "../case14_slope_pairs.json")
