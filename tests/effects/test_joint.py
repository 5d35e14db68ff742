"""The joint model against other packages (every school), against simulated truth, and at the edges of data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import reference, simulate

import valib as va
from valib.effects import bootstrap
from valib.effects.joint import JointFit, cohort_moments, joint_from_moments
from valib.effects.stability import fit_cohorts
from valib.errors import ModelError, RecordsError
from valib.models.blup import correlation_interval, delta_error
from valib.models.joint_fit import fit_all, stack_sums
from valib.simulation.draw import draw
from valib.simulation.worlds import Scenario

# The reference's optimum has a gradient below 1e-9 and was checked by glmmTMB to 1e-12; both work in double precision.
# Estimates at the optimum agree to rounding times the condition of the problem.
EXACT = 1e-9  # relative to the largest entry of the vector or matrix
LOGLIK = 1e-8  # absolute; a log-likelihood of 5e4 has about 1e-11 x 5e4 of rounding in it

YEARS = [2015, 2016, 2017, 2019, 2021, 2024]
CASE7 = {"ou": "ar1", "cs_homogeneous": "compound_symmetry", "us": "unstructured", "diag": "independent"}
RESIDUALS = {"common_residual": "common", "year_specific_residual": "by_cohort"}


def close(value, wanted, tolerance=EXACT) -> bool:
    """Largest difference relative to the largest wanted entry."""
    wanted = np.asarray(wanted, dtype=float)
    return bool(np.abs(np.asarray(value, dtype=float) - wanted).max() < tolerance * np.abs(wanted).max())


def compare(fit: JointFit, wanted: dict) -> None:
    """Every stored number of a joint fit: fixed effects, Omega, residual variances, all predictions, their errors."""
    years = [str(c) for c in fit.cohorts]
    assert fit.converged and not fit.singular
    assert fit.loglik == pytest.approx(wanted["logLik"], abs=LOGLIK)
    assert fit.n_parameters == wanted["npar"] and fit.aic == pytest.approx(wanted["AIC"], abs=1e-6)
    order = wanted["vcov_fixef"]["names"]
    terms = {"intercept": "Intercept", "prior": "prior_score"}
    mine = [(int(name.split("_")[1]), terms[name.split("_")[0]]) for name in order]
    assert close(fit.fixed_effects[mine], [wanted["fixef"][k] for k in order])
    assert close(fit.vcov.loc[mine, mine], wanted["vcov_fixef"]["matrix"])
    assert wanted["G"]["names"] == years
    assert close(fit.omega, wanted["G"]["matrix"]) and close(fit.correlation, wanted["G_corr"]["matrix"])
    sigma2 = wanted["sigma2"]
    assert close(fit.sigma2, [sigma2[y] for y in years] if isinstance(sigma2, dict) else [sigma2] * len(years))
    compare_schools(fit, wanted["eb"], years)


def compare_schools(fit: JointFit, wanted: dict, years: list[str]) -> None:
    """Every school in every cohort, also those without students."""
    table = fit.school_effects
    assert len(table) == len(wanted["school"]) * len(years)
    for year in years:
        mine = table.xs(int(year), level="cohort").loc[wanted["school"]]
        assert list(mine["n"]) == wanted["n"][year]
        assert close(mine["effect"], wanted["b"][year])
        assert close(mine["se_conditional"] ** 2, wanted["condvar"][year])
        if "pev" in wanted:
            assert close(mine["se_comparative"] ** 2, wanted["pev"][year])


class TestAgainstReference:
    @pytest.mark.parametrize("key", list(RESIDUALS))
    def test_unstructured(self, panel, key):
        fit, wanted = va.fit_joint(panel, YEARS, residual=RESIDUALS[key]), reference("case6_sim")[key]
        compare(fit, wanted)
        assert fit.bic == pytest.approx(wanted["BIC_nobs"], abs=1e-6)
        assert np.array_equal(fit.arrays.data.shared, wanted["n_schools_shared_pairs"]["matrix"])
        for school, matrix in wanted["eb"]["condcov_first3"].items():
            j = list(fit.arrays.data.schools).index(school)
            assert close(fit.arrays.conditional[j], matrix["matrix"])

    def test_the_point_where_lme4_stops_is_not_ours(self, panel):
        """lme4 1.1.31 with bobyqa from its default start ends at a variance of exactly 0, 29.5 units below."""
        spurious = reference("case6_sim")["common_residual"]["packages"]["lme4_bobyqa_default_start"]["logLik"]
        fit = va.fit_joint(panel, YEARS, residual="common")
        assert spurious == pytest.approx(-49942.8147, abs=1e-3) and fit.loglik > spurious + 29.5

    @pytest.mark.parametrize("cohorts", ["years_2015_2016_2017", "all_six_years"])
    @pytest.mark.parametrize("key", list(RESIDUALS))
    @pytest.mark.parametrize("name", list(CASE7))
    def test_structures(self, panel, name, key, cohorts):
        years = YEARS if cohorts == "all_six_years" else YEARS[:3]
        fit = va.fit_joint(panel, years, covariance=CASE7[name], residual=RESIDUALS[key])
        wanted = reference("case7_structured")[cohorts][key][name]
        compare(fit, wanted)
        if name == "ou":
            assert fit.correlation.loc[2015, 2016] == pytest.approx(wanted["rho_per_year"], rel=EXACT)

    def test_ar1_by_position_is_ar1_by_year_where_the_years_are_evenly_spaced(self, panel):
        for key, residual in RESIDUALS.items():
            fit = va.fit_joint(panel, YEARS[:3], covariance="ar1", residual=residual)
            compare(fit, reference("case7_structured")["years_2015_2016_2017"][key]["ar1"])

    def test_correlations_of_the_joint_model(self, panel):
        for key, residual in (("joint_common_residual", "common"), ("joint_year_specific_residual", "by_cohort")):
            wanted = reference("case8_two_step_correlations")["sim"][key]
            fit = va.fit_joint(panel, YEARS, residual=residual)
            assert close(fit.correlation, wanted["model_correlation"]["matrix"])
            eb = fit.school_effects["effect"].unstack()
            assert close(eb.corr(), wanted["eb_correlation_all_schools"]["matrix"])


class TestComparison:
    def test_reference_test_of_equal_residual_variances(self, panel):
        wanted = reference("case6_sim")["lr_test_equal_residuals"]
        table = va.compare_joint([va.fit_joint(panel, YEARS, residual=r) for r in ("common", "by_cohort")])
        row = table.loc[("unstructured", "common")]
        assert row["lr"] == pytest.approx(wanted["chisq"], abs=1e-7) and row["df"] == wanted["df"]
        assert row["p_value"] == pytest.approx(wanted["p"], rel=1e-7)
        assert row["within"] == "unstructured, by_cohort"
        assert np.isnan(table.loc[("unstructured", "by_cohort"), "lr"])

    def test_what_is_nested_in_what(self, panel):
        fits = va.fit_structures(panel, YEARS, method="REML")
        ll = {k: f.loglik for k, f in fits.items()}
        assert ll["unstructured"] > ll["antedependence"] > ll["independent"]
        assert ll["antedependence"] > ll["ar1"] and ll["unstructured"] > ll["toeplitz"] > ll["compound_symmetry"]
        few = va.compare_joint([fits["ar1"], fits["toeplitz"], fits["compound_symmetry"]])
        assert few["within"].isna().tolist() == [True, True, False]  # the calendar gaps are uneven
        even = va.fit_structures(panel, YEARS[:3], covariances=["ar1", "toeplitz"])
        assert even["toeplitz"].loglik > even["ar1"].loglik
        assert va.compare_joint(even.values())["df"].tolist()[0] == 1
        assert list(va.compare_joint(fits.values())["n_parameters"]) == [39, 20, 20, 29, 24, 24]

    def test_fits_of_other_students_are_refused(self, panel):
        a, b = va.fit_joint(panel, YEARS[:2]), va.fit_joint(panel, YEARS[:3])
        with pytest.raises(ModelError, match="same students"):
            va.compare_joint([a, b])


class TestRecovery:
    def test_the_interval_of_a_correlation_has_its_level(self):
        """Two cohorts, 100 schools of 20 to 40 students, rho = 0.6: plug-in 95% intervals, 1,000 panels at once.

        The Monte Carlo error of a coverage of 0.95 is 0.0069; three of them are allowed, with .005 for the delta method.
        That panels fitted at once are those fitted one by one is held in test_stability.
        """
        rho, panels = 0.6, 1000
        world = Scenario("two cohorts", baseline=(2021,), focal=2022, schools=100, sizes=(20, 40), rho=rho)
        drawn = draw(world, [np.random.default_rng((20240601, r)) for r in range(panels)])
        sums = np.array(world.cohorts), drawn.n, drawn.sums, drawn.cross.sum(axis=2)
        b, tau2, sigma2 = fit_cohorts(*sums, "ML")
        fits = fit_all(stack_sums(*sums, b), tau2, sigma2)
        assert fits.found.all()
        estimates, errors = fits.correlation[:, 0, 1], fits.correlation_se[:, 0, 1]
        lower, upper = correlation_interval(estimates, delta_error(estimates, errors), 0.95)
        inside, spread = (lower <= rho) & (rho <= upper), estimates.std(ddof=1)
        assert abs(inside.mean() - 0.95) < 3 * np.sqrt(0.95 * 0.05 / panels) + 0.005
        assert abs(estimates.mean() - rho) < 3 * spread / np.sqrt(panels) + 0.01  # ML's bias is of order 1/J
        assert errors.mean() == pytest.approx(spread, rel=3 / np.sqrt(2 * panels) + 0.03)

    def test_prediction_intervals_hold_the_true_effects(self):
        """Also those of schools that have no students in the cohort (a fifth of the cells are taken away)."""
        rng, inside, absent = np.random.default_rng(7), [], []
        for _ in range(25):
            data = simulate(rng, 60, (10, 30), (2019, 2021, 2022), rho=0.7)
            truth = data.groupby(["school", "cohort"])["u"].first()
            gone = truth.sample(frac=0.2, random_state=rng).index
            kept = data[~pd.MultiIndex.from_frame(data[["school", "cohort"]]).isin(gone)]
            table = va.fit_joint(kept, [2019, 2021, 2022], method="REML").school_effects
            u = truth.reindex(table.index)
            hit = (table["lower"] <= u) & (u <= table["upper"])
            inside.append(hit[table["n"] > 0].mean())
            absent.append(hit[table["n"] == 0].mean())
        for shares in (inside, absent):
            error = np.std(shares, ddof=1) / np.sqrt(len(shares))
            assert abs(np.mean(shares) - 0.95) < 3 * error + 0.015  # Omega is taken as known by the intervals

    def test_bootstrap_and_delta_method_agree_where_both_hold(self):
        data = simulate(np.random.default_rng(5), 150, (20, 40), (2021, 2022, 2023), rho=0.6)
        fit = va.fit_joint(data, [2021, 2022, 2023])
        boot = va.bootstrap_joint(data, fit, seed=1, replicates=200)
        again = va.bootstrap_joint(data, fit, seed=1, replicates=10)
        assert np.array_equal(boot.correlation[:10], again.correlation)
        assert boot.failed == 0 and (boot.correlations()["replicates"] == 200).all()
        ratio = boot.correlations()["se"] / fit.correlations("plugin")["se"]
        assert ratio.between(0.75, 1.3).all()  # the spread of 200 draws has an error of 5%, that of 150 schools of 6%
        assert boot.coefficients.mean(axis=0) == pytest.approx(fit.fixed_effects, rel=0.05)


class TestBootstrapArithmetic:
    def test_a_replicate_is_the_fit_to_the_schools_drawn(self):
        """Refit from records in which each drawn school stands under a new name."""
        data = simulate(np.random.default_rng(3), 40, (5, 20), (2021, 2022), rho=0.5)
        fit = va.fit_joint(data, [2021, 2022], residual="common")
        boot = va.bootstrap_joint(data, fit, seed=11, replicates=1)
        chosen = np.random.default_rng(11).integers(0, 40, 40)
        schools = sorted(data["school"].unique())
        drawn = pd.concat(
            [data[data["school"] == schools[j]].assign(school=f"D{k:02d}") for k, j in enumerate(chosen)],
            ignore_index=True,
        )
        again = va.fit_joint(drawn, [2021, 2022], residual="common")
        assert boot.omega[0] == pytest.approx(again.omega.to_numpy(), rel=1e-6)
        assert boot.coefficients[0] == pytest.approx(again.fixed_effects.to_numpy(), rel=1e-7)
        assert boot.sigma2[0] == pytest.approx(again.sigma2.to_numpy(), rel=1e-7)

    @pytest.mark.parametrize(
        ("schools", "structure", "residual", "method"),
        [
            (30, "unstructured", "by_cohort", "ML"),
            (9, "unstructured", "by_cohort", "REML"),
            (20, "ar1", "common", "ML"),
        ],
    )
    def test_together_in_blocks_or_one_by_one_the_replicates_are_the_same(
        self, schools, structure, residual, method, monkeypatch
    ):
        """With nine schools a sample's likelihood often gives trouble, and its search is made by itself in any case."""
        data = simulate(np.random.default_rng(7), schools, (3, 12), (2021, 2022, 2024), rho=0.6)
        fit = va.fit_joint(data, [2021, 2022, 2024], covariance=structure, residual=residual, method=method)
        together, turned = va.bootstrap_joint(data, fit, seed=2, replicates=25), []
        many = bootstrap.minimise_all
        monkeypatch.setattr(bootstrap, "minimise_all", lambda *a: turned.append((~(r := many(*a))[1]).sum()) or r)
        monkeypatch.setattr(bootstrap, "ENTRIES", 3 * 3 * 9 * schools)  # three samples a block
        blocks = va.bootstrap_joint(data, fit, seed=2, replicates=25)
        assert len(turned) == 9 and (sum(turned) > 0 if schools == 9 else sum(turned) < 20)
        monkeypatch.setattr(bootstrap, "minimise_all", lambda p, x: (x.copy(), np.zeros(len(x), dtype=bool)))
        alone = va.bootstrap_joint(data, fit, seed=2, replicates=25)
        for name in ("omega", "sigma2", "coefficients"):
            for other in (blocks, alone):
                np.testing.assert_allclose(getattr(together, name), getattr(other, name), rtol=1e-9, atol=1e-9)

    def test_replicates_have_the_columns_of_the_fit(self):
        """Where the formula is a benchmark's state, its centre is the benchmark's in every replicate too."""
        data = simulate(np.random.default_rng(5), schools=30, size=(10, 20), cohorts=(2019, 2021), rho=0.5)
        state = va.fit_baseline(
            data.assign(prior_score=data.prior_score + 100), [2019], "score ~ center(prior_score)"
        ).state
        fit = va.fit_joint(data, [2019, 2021], state)
        boot = va.bootstrap_joint(data, fit, seed=3, replicates=10)
        se = np.sqrt(np.diag(fit.vcov))
        assert (abs(boot.coefficients - fit.fixed_effects.to_numpy()) < 6 * se).all()


class TestWhatAFitHolds:
    def test_independent_cohorts_are_the_relative_models(self, panel):
        fit = va.fit_joint(panel, YEARS, covariance="independent")
        alone = [va.fit_relative(panel, c, intervals="plugin") for c in YEARS]
        assert fit.loglik == pytest.approx(sum(f.loglik for f in alone), abs=1e-8)
        for one in alone:
            mine = fit.school_effects.xs(one.cohort, level="cohort").loc[one.school_effects.index]
            for name in ("n", "effect", "se_conditional", "se_comparative", "se_diagnostic", "lower", "upper"):
                assert close(mine[name], one.school_effects[name], 1e-7), name
            assert close(mine["reliability"], one.school_effects["shrinkage"], 1e-7)
            assert fit.student_sd[one.cohort] == pytest.approx(one.student_sd, rel=1e-10)
            assert fit.fixed_effects[one.cohort].to_numpy() == pytest.approx(one.fixed_effects.to_numpy(), rel=1e-9)
        table = fit.school_effects
        empty = table[table["n"] == 0]
        assert len(empty) == 42 and not empty["effect"].any() and not empty["reliability"].any()

    def test_a_schools_other_cohorts_speak_for_the_one_it_misses(self, panel):
        fit = va.fit_joint(panel, YEARS)
        only = fit.school_effects.loc["S033"]  # in 2024 only
        assert (only["n"] > 0).tolist() == [False] * 5 + [True]
        slope = fit.omega[2024] / fit.omega.loc[2024, 2024]
        assert close(only["effect"], slope * only.loc[2024, "effect"])
        error = fit.error_covariance("S033")
        assert np.sqrt(np.diag(error)) == pytest.approx(only["se_comparative"].to_numpy(), rel=1e-10)
        assert np.linalg.eigvalsh(error)[0] > 0
        with pytest.raises(ModelError, match="no school 'X'"):
            fit.error_covariance("X")

    def test_rows_and_cohorts_in_any_order(self, panel):
        a = va.fit_joint(panel, YEARS[:3])
        b = va.fit_joint(panel.sample(frac=1.0, random_state=1), YEARS[2::-1])
        assert b.cohorts == (2015, 2016, 2017) and close(a.omega, b.omega, 1e-10)
        assert a.school_effects.index.equals(b.school_effects.index)

    def test_moments_may_come_in_chunks(self, panel):
        whole, *_ = cohort_moments(panel, YEARS[:2], "score ~ prior_score")
        halves = [cohort_moments(half, YEARS[:2], "score ~ prior_score")[0] for half in (panel[::2], panel[1::2])]
        added = [a + b for a, b in zip(*halves, strict=True)]
        f, g = (joint_from_moments(parts, "score ~ prior_score") for parts in (whole, added))
        assert close(f.omega, g.omega) and close(f.school_effects["effect"], g.school_effects["effect"])

    def test_each_cohort_has_columns_of_its_own(self, panel):
        """A level that one cohort lacks, and a transform centred on the cohort."""
        data = panel.assign(
            region=np.where((panel["cohort"] == 2016) & (panel["ses"] > 1), "c", np.where(panel["ses"] > 0, "a", "b"))
        )
        fit = va.fit_joint(data, [2015, 2016], "score ~ center(prior_score) + region", "independent")
        assert [len(b) for _, b in fit.fixed_effects.groupby(level=0)] == [3, 4]
        one = va.fit_relative(data, 2016, "score ~ center(prior_score) + region")
        assert list(fit.fixed_effects[2016].index) == list(one.fixed_effects.index)
        assert close(fit.fixed_effects[2016], one.fixed_effects)

    def test_summary_is_plain(self, panel):
        import json

        plain = json.loads(json.dumps(va.fit_joint(panel, YEARS[:2]).summary(), allow_nan=False))
        assert plain["n_parameters"] == 9 and plain["correlation"][0][0] == 1.0


def only_limits_are_missing(fit) -> bool:
    """Of schools in a fit on a boundary everything is there but the plug-in limits."""
    limits = ["lower", "upper"]
    rest = fit.school_effects.drop(columns=[*limits, "tested", "linked_share", "side"])
    return bool(np.isfinite(rest.to_numpy(dtype=float)).all() and fit.school_effects[limits].isna().all(axis=None))


class TestEdges:
    def test_two_cohorts_that_rank_schools_alike_are_singular_and_said_to_be(self):
        """rho = 1 in truth: the estimate lies on the boundary in about half of the panels, and no error is printed."""
        seen = []
        for seed in range(6):
            data = simulate(np.random.default_rng(seed), 30, (10, 30), (2021, 2022), rho=1.0)
            fit = va.fit_joint(data, [2021, 2022])
            assert fit.converged
            seen.append(fit.singular)
            if fit.singular:
                assert fit.correlation.loc[2021, 2022] == pytest.approx(1.0, abs=1e-6)
                assert np.isnan(fit.correlation_se.loc[2021, 2022]) and fit.correlations("plugin")["lower"].isna().all()
                told = fit.correlations()
                assert (told["se"] > 0).all() and told["upper"].between(0.9, 1).all() and (told["lower"] < 0.9).all()
                assert only_limits_are_missing(fit) and np.isfinite(fit.sigma2_se).all()
        assert any(seen)

    def test_no_school_effect_in_one_cohort(self):
        """Independent cohorts give a variance of exactly 0, without a correlation and with effects 0 of error 0.

        An unstructured Omega keeps a small variance (some covariance with another cohort always fits a little better)
        and loses rank instead; both are reported and neither fails.
        """
        data = simulate(np.random.default_rng(2), 30, (10, 30), (2021, 2022, 2023), rho=0.5)
        flat = data["cohort"] == 2022
        residual = data["score"] - 0.8 * data["prior_score"]
        data.loc[flat, "score"] -= residual[flat].groupby(data["school"]).transform("mean")
        fits = va.fit_structures(data, [2021, 2022, 2023], covariances=["independent", "unstructured"])
        for fit in fits.values():
            assert fit.singular and fit.converged and only_limits_are_missing(fit)
            assert np.isfinite(fit.sigma2_se).all() and fit.omega_se[2022].isna().all()
        dull = fits["independent"].school_effects.xs(2022, level="cohort")
        assert not dull[["effect", "se_comparative", "reliability"]].to_numpy().any()
        assert fits["independent"].omega[2022].tolist() == [0, 0, 0]
        assert fits["independent"].correlation[2022].isna().all()
        assert fits["unstructured"].omega.loc[2022, 2022] < 0.05 * fits["unstructured"].omega.loc[2021, 2021]

    @pytest.mark.parametrize("covariance", ["unstructured", "toeplitz", "antedependence"])
    def test_ten_cohorts(self, covariance):
        cohorts = list(range(2010, 2020))
        data = simulate(np.random.default_rng(4), 200, (8, 15), cohorts, rho=0.6)
        fit = va.fit_joint(data, cohorts, covariance=covariance)
        assert (
            fit.converged
            and not fit.singular
            and fit.n_parameters == 30 + {"unstructured": 55, "toeplitz": 10, "antedependence": 19}[covariance]
        )
        if covariance != "antedependence":  # which compound symmetry is not
            assert fit.correlations("plugin")["correlation"].mean() == pytest.approx(0.6, abs=0.08)

    def test_a_cohort_with_three_schools(self):
        data = simulate(np.random.default_rng(6), 40, (10, 30), (2021, 2022), rho=0.6)
        few = data[(data["cohort"] == 2021) | data["school"].isin(["S0001", "S0002", "S0003"])]
        fit = va.fit_joint(few, [2021, 2022], covariance="compound_symmetry")
        assert fit.converged and (fit.school_effects.xs(2022, level="cohort")["n"] > 0).sum() == 3
        assert fit.singular and only_limits_are_missing(fit)

    def test_cohorts_without_a_common_school(self):
        data = simulate(np.random.default_rng(8), 40, (10, 30), (2021, 2022, 2023), rho=0.6)
        apart = data[(data["cohort"] == 2022) | ((data["cohort"] == 2021) == (data["school"] < "S0020"))]
        with pytest.raises(ModelError, match="both cohort 2021 and cohort 2023"):
            va.fit_joint(apart, [2021, 2022, 2023])
        assert va.fit_joint(apart, [2021, 2022, 2023], covariance="ar1").converged

    def test_what_cannot_be_fitted_is_said_with_its_cohort(self, panel):
        with pytest.raises(ModelError, match="at least two cohorts"):
            va.fit_joint(panel, [2015])
        with pytest.raises(RecordsError, match="2018 is not in the data"):
            va.fit_joint(panel, [2015, 2018])
        with pytest.raises(ModelError, match="must be one of by_cohort, common, not 'equal'"):
            va.fit_joint(panel, YEARS, residual="equal")
        with pytest.raises(ModelError, match="'ML' or 'REML'"):
            va.fit_joint(panel, YEARS, method="MLE")
        one = panel[(panel["cohort"] != 2016) | (panel["school"] == "S001")]
        with pytest.raises(ModelError, match="Cohort 2016: .*at least two schools"):
            va.fit_joint(one, YEARS)
        same = panel.assign(level=np.where(panel["cohort"] == 2017, 1.0, panel["ses"]))
        with pytest.raises(ModelError, match="Cohort 2017: Column 'level' is constant"):
            va.fit_joint(same, YEARS, "score ~ prior_score + level")

    def test_missing_covariates_are_counted_by_cohort(self, panel):
        data = panel[panel["cohort"] < 2017].reset_index(drop=True)
        data.loc[data.index[data["cohort"] == 2016][:7], "ses"] = np.nan
        with pytest.warns(va.ValibWarning, match="7 of"):
            fit = va.fit_joint(data, [2015, 2016], "score ~ prior_score + ses")
        assert fit.left_out == {2015: {}, 2016: {"ses": 7}} and fit.n_students == len(data) - 7
