library(lme4)
focal <- subset(d, cohort == focal_cohort)

# Relative value added
rel <- lmer(score ~ prior_score + (1 | school), focal, REML = FALSE)
fixef(rel)
VarCorr(rel)                        # between schools, within schools
ranef(rel, condVar = TRUE)          # with conditional variances
