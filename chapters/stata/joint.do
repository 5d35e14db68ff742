* The joint model: a column of 0 and 1 for each cohort
tabulate cohort, generate(c)
mixed score ibn.cohort ibn.cohort#c.prior_score, noconstant ///
    || school: c1-c`r(r)', noconstant covariance(unstructured) ///
    residuals(independent, by(cohort)) mle
estat recovariance, correlation
