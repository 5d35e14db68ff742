* global focal: the focal cohort
* Relative value added
mixed score prior_score if cohort == $focal || school:, mle
predict u_rel if e(sample), reffects reses(se_rel)
