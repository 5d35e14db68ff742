# Random slopes by lme4 on sleepstudy and Chem97; those of Exam are in case 2.
# Run in tests/reference/r: Rscript case11.R. Writes ../case11_slopes.json. Of many schools every so-manyth is kept.
Sys.setenv(OMP_NUM_THREADS = "1", OPENBLAS_NUM_THREADS = "1")
suppressMessages({ library(lme4); library(jsonlite) })
read <- function(name, group) { d <- read.csv(paste0("../../../data/", name, ".csv")); d[[group]] <- factor(d[[group]]); d }
sleepstudy <- read("sleepstudy", "Subject"); chem97 <- read("chem97", "school")
chem97$gender <- factor(chem97$gender, c("M", "F"))
# bobyqa, then again from where it ended: its last trust region may have been too small too early
told <- function(formula, data, group, REML) {
  control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12, maxfun = 1e5), calc.derivs = FALSE)
  fit <- lmer(formula, data, REML = REML, control = control)
  fit <- lmer(formula, data, REML = REML, control = control, start = getME(fit, "theta"))
  r <- ranef(fit, condVar = TRUE)[[group]]; V <- attr(r, "postVar"); q <- ncol(r)
  keep <- unique(round(seq(1, nrow(r), length.out = 40)))
  list(formula = paste(deparse(formula), collapse = " "), logLik = as.numeric(logLik(fit)), n = nobs(fit), groups = nrow(r),
    fixef = as.list(fixef(fit)), vcov = unname(as.matrix(vcov(fit))), sigma2 = sigma(fit)^2,
    G = unname(matrix(as.numeric(VarCorr(fit)[[group]]), q)), group = rownames(r)[keep], terms = colnames(r),
    effects = unname(as.matrix(r))[keep, ], condcov = lapply(keep, function(j) V[, , j]))
}
models <- list(
  sleepstudy = list(Reaction ~ Days + (Days | Subject), sleepstudy, "Subject"),
  chem97 = list(score ~ gcsecnt + gender + age + (gcsecnt | school), chem97, "school"),
  chem97_gender = list(score ~ gcsecnt + gender + age + (gender | school), chem97, "school"),
  chem97_two = list(score ~ gcsecnt + gender + age + (gcsecnt + age | school), chem97, "school"))
out <- list(versions = list(R = R.version.string, lme4 = as.character(packageVersion("lme4"))))
for (method in c("ML", "REML")) for (name in names(models)) {
  m <- models[[name]]
  found <- told(m[[1]], m[[2]], m[[3]], method == "REML")
  cat(name, method, found$logLik, found$G, "\n")
  out[[paste(name, method, sep = "_")]] <- found
}
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE), "../case11_slopes.json")
