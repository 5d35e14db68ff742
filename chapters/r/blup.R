# The answer's recipe: coefficients and variances of the baseline,
# shift absorbed
library(lme4)
base  <- subset(d, cohort %in% baseline)
focal <- subset(d, cohort == focal_cohort)
m   <- lmer(score ~ prior_score + (1 | school), base, REML = FALSE)
vc  <- as.data.frame(VarCorr(m))$vcov           # school, residual
r   <- focal$score - predict(m, focal, re.form = NA)
school <- factor(focal$school)                  # those of this cohort
n   <- tapply(r, school, length)
u   <- tapply(r, school, mean) * n * vc[1] / (n * vc[1] + vc[2])
