library(lme4)
base  <- subset(d, cohort %in% baseline)
focal <- subset(d, cohort == focal_cohort)

# The question's recipe: OLS coefficients, shift absorbed,
# variances of the focal cohort
b   <- coef(lm(score ~ prior_score, base))
focal$o <- b[[1]] + b[[2]] * focal$prior_score
q   <- lmer(score ~ -1 + offset(o) + (1 | school), focal,
            REML = FALSE)

# The default of this book: mixed-model coefficients, shift estimated
base$cell <- interaction(base$school, base$cohort, drop = TRUE)
m2  <- lmer(score ~ prior_score + (1 | cell), base, REML = FALSE)
focal$o <- drop(model.matrix(~ prior_score, focal) %*% fixef(m2))
s   <- lmer(score ~ 1 + offset(o) + (1 | school), focal, REML = FALSE)
fixef(s)                                        # the system shift
va  <- fixef(s) + ranef(s)$school[[1]]          # benchmark value added
