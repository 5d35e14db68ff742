* The answer's recipe: coefficients and variances of the baseline
mixed score prior_score if inlist(cohort, $baseline) || school:, mle
scalar tau2   = exp(_b[lns1_1_1:_cons])^2
scalar sigma2 = exp(_b[lnsig_e:_cons])^2
predict xb_m, xb
generate r_m = score - xb_m if cohort == $focal
egen rbar = mean(r_m), by(school)
egen n    = count(r_m), by(school)
generate u = rbar * n * tau2 / (n * tau2 + sigma2)
