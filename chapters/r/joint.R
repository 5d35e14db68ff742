# The joint model: effects of a school correlate freely over cohorts,
# and each cohort has a student variance of its own
library(nlme)
d$cohort <- factor(d$cohort)
d$prior  <- d$prior_score - mean(d$prior_score)
j <- lme(score ~ 0 + cohort + cohort:prior,
         random = ~ 0 + cohort | school,
         weights = varIdent(form = ~ 1 | cohort),
         data = d, method = "ML")
omega <- unclass(getVarCov(j))                  # the matrix Omega
cov2cor(omega)                                  # its correlations
