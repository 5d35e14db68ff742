# Random slopes against fixed coefficients by lme4: score less what b makes of the prior score, in Exam.
# Run in tests/reference/r: Rscript case13.R. Writes ../case13_benchmark_slopes.json.
Sys.setenv(OMP_NUM_THREADS = "1", OPENBLAS_NUM_THREADS = "1")
suppressMessages({ library(lme4); library(jsonlite) })
exam <- read.csv("../../../data/exam.csv"); exam$school <- factor(exam$school)
exam$r <- exam$normexam - (-0.1 + 0.5 * exam$standLRT)
told <- function(formula, data, REML) {
  control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e5), calc.derivs = FALSE)
  fit <- lmer(formula, data, REML = REML, control = control)
  fit <- lmer(formula, data, REML = REML, control = control, start = getME(fit, "theta"))
  r <- ranef(fit, condVar = TRUE)$school; V <- attr(r, "postVar")
  list(formula = paste(deparse(formula), collapse = " "), logLik = as.numeric(logLik(fit)), n = nobs(fit),
    delta = if (length(fixef(fit))) fixef(fit)[[1]], delta_se = if (length(fixef(fit))) sqrt(as.matrix(vcov(fit))[1, 1]),
    sigma2 = sigma(fit)^2, G = unname(matrix(as.numeric(VarCorr(fit)$school), 2)), group = rownames(r),
    effects = unname(as.matrix(r)), condcov = lapply(seq_len(nrow(r)), function(j) V[, , j]))
}
out <- list(versions = list(R = R.version.string, lme4 = as.character(packageVersion("lme4"))))
for (method in c("ML", "REML")) {
  out[[paste0("estimated_", method)]] <- told(r ~ 1 + (standLRT | school), exam, method == "REML")
  out[[paste0("absorbed_", method)]] <- told(r ~ 0 + (standLRT | school), exam, method == "REML")
}
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE, null = "null"), "../case13_benchmark_slopes.json")
