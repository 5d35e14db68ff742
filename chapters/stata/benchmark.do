* global baseline: the baseline cohorts with commas between them
* The question's recipe
regress score prior_score if inlist(cohort, $baseline), vce(cluster school)
predict xb_base, xb
generate r = score - xb_base
mixed r if cohort == $focal, noconstant || school:, mle

* The default of this book
egen cell = group(school cohort) if inlist(cohort, $baseline)
mixed score prior_score if inlist(cohort, $baseline) || cell:, mle
predict xb_b, xb
generate r_b = score - xb_b
mixed r_b if cohort == $focal || school:, mle   // _cons: the shift
