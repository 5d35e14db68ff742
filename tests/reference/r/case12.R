# Unequal residual variances by nlme: by group of students (varIdent), by a covariate (varExp), by school, and Bartlett's
# test of equal variances of schools. Run in tests/reference/r: Rscript case12.R. Writes ../case12_residual.json. Of many
# schools every so-manyth is kept.
Sys.setenv(OMP_NUM_THREADS = "1", OPENBLAS_NUM_THREADS = "1")
suppressMessages({ library(nlme); library(jsonlite) })
read <- function(name) { d <- read.csv(paste0("../../../data/", name, ".csv")); d$school <- factor(d$school); d }
exam <- read("exam"); chem97 <- read("chem97")
control <- lmeControl(msMaxIter = 500, maxIter = 500, msTol = 1e-13, tolerance = 1e-13, opt = "nlminb", msMaxEval = 5000)
told <- function(formula, data, weights, method) {
  fit <- lme(formula, random = ~ 1 | school, data = data, weights = weights, method = method, control = control)
  u <- ranef(fit); keep <- unique(round(seq(1, nrow(u), length.out = 40)))
  coefs <- coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
  common <- lme(formula, random = ~ 1 | school, data = data, method = method, control = control)
  list(formula = paste(deparse(formula), collapse = " "), method = method, logLik = as.numeric(logLik(fit)),
    common = as.numeric(logLik(common)), fixef = as.list(fixef(fit)), vcov = unname(vcov(fit)), sigma = fit$sigma,
    coefs = as.list(coefs), tau2 = as.numeric(getVarCov(fit)), group = rownames(u)[keep], effects = u[keep, 1])
}
models <- list(
  exam_sex = list(normexam ~ standLRT, exam, quote(varIdent(form = ~ 1 | sex))),
  exam_vr = list(normexam ~ standLRT + sex, exam, quote(varIdent(form = ~ 1 | vr))),
  exam_exp = list(normexam ~ standLRT, exam, quote(varExp(form = ~ standLRT))),
  chem97_gender = list(score ~ gcsecnt + gender + age, chem97, quote(varIdent(form = ~ 1 | gender))))
out <- list(versions = list(R = R.version.string, nlme = as.character(packageVersion("nlme"))))
for (method in c("ML", "REML")) for (name in names(models)) {
  m <- models[[name]]
  found <- told(m[[1]], m[[2]], eval(m[[3]]), method)
  cat(name, method, found$logLik, found$common, unlist(found$coefs), found$tau2, found$sigma, "\n")
  out[[paste(name, method, sep = "_")]] <- found
}
free <- told(normexam ~ standLRT, exam, varIdent(form = ~ 1 | school), "ML")
cat("free by school", free$logLik, "\n")
out$exam_school_ML <- free
# schools' own regressions, as Snijders and Bosker (2012, section 10.2) test them, and one slope for all
own <- do.call(rbind, lapply(split(exam, exam$school), function(d) if (nrow(d) > 2) data.frame(
  school = d$school[1], df = nrow(d) - 2, ss = sum(resid(lm(normexam ~ standLRT, d))^2))))
bartlett <- function(ss, df) {
  k <- length(df); s <- sum(ss) / sum(df)
  c((sum(df) * log(s) - sum(df * log(ss / df))) / (1 + (sum(1 / df) - 1 / sum(df)) / (3 * (k - 1))), k - 1)
}
within <- lm(normexam ~ standLRT + school, exam)
print(bartlett.test(resid(within), exam$school))
print(bartlett(own$ss, own$df))
ten <- own[own$df >= 10, ]; print(bartlett(ten$ss, ten$df))
big <- names(which(table(exam$school) >= 10)); e <- exam[exam$school %in% big, ]; e$school <- factor(e$school)
print(bartlett.test(resid(lm(normexam ~ standLRT + school, e)), e$school))
print(bartlett.test(resid(within)[exam$school %in% big], e$school))
r <- resid(lme(normexam ~ standLRT, random = ~ 1 | school, data = exam, method = "ML")); print(bartlett.test(r, exam$school)); print(bartlett.test(r[exam$school %in% big], e$school))
t <- bartlett.test(resid(within), exam$school)
out$bartlett <- list(statistic = unname(t$statistic), df = unname(t$parameter))
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE), "../case12_residual.json")
