"""The baseline: its coefficients against statsmodels and dense matrices, and the artefact that keeps them."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from oracle import Dense, cluster_robust, indicators, within_estimate
from scipy import optimize

from valib.effects.baseline import Benchmark, fit_baseline
from valib.effects.benchmark import check_prior, fit_benchmark
from valib.errors import BenchmarkError, ValibError, ValibWarning

# Each side loses a few digits to its inverses; tolerances stand beside the comparisons, 1e-6 at the widest
# for sandwiches of dense matrices and 2e-5 where the other side's variances come from a scalar search.


def fit_quietly(*args, **kwargs):
    """A benchmark fit whose warnings (a focal cohort of the baseline, a prior that moved) are not the
    point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)
        return fit_benchmark(*args, **kwargs)


class TestCoefficients:
    def baseline_matrices(self, small):
        rows = small[small.cohort < 2021]
        X = np.column_stack([np.ones(len(rows)), rows.prior_score, rows.female])
        return rows, X, rows.score.to_numpy(), (rows.school + rows.cohort.astype(str)).to_numpy()

    FORMULA = "score ~ prior_score + female"

    def small_sample(self, rows, p=3):
        """J/(J - 1) (N - 1)/(N - p), the factor of Stata and statsmodels (CR1)."""
        J, N = rows.school.nunique(), len(rows)
        return J / (J - 1) * (N - 1) / (N - p)

    def test_least_squares_is_statsmodels_with_clustered_errors(self, small):
        import statsmodels.formula.api as smf

        rows = small[small.cohort < 2021]
        wanted = smf.ols(self.FORMULA, rows).fit(
            cov_type="cluster", cov_kwds={"groups": pd.factorize(rows.school)[0], "use_correction": True}
        )
        plain = smf.ols(self.FORMULA, rows).fit()
        mine = fit_baseline(small, [2015, 2016], self.FORMULA, estimator="ols")
        np.testing.assert_allclose(mine.coefficients, wanted.params, rtol=1e-9)
        np.testing.assert_allclose(mine.vcov, wanted.cov_params(), rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(mine.vcov_model, plain.cov_params(), rtol=1e-7, atol=1e-12)

    def test_within_is_least_squares_with_school_by_cohort_dummies(self, small):
        import statsmodels.formula.api as smf

        rows, X, y, cell = self.baseline_matrices(small)
        mine = fit_baseline(small, [2015, 2016], self.FORMULA, estimator="within")
        dummies = smf.ols("score ~ 0 + C(cell) + prior_score + female", rows.assign(cell=cell)).fit()
        slopes = ["prior_score", "female"]
        np.testing.assert_allclose(mine.coefficients[slopes], dummies.params[slopes], rtol=1e-9)
        np.testing.assert_allclose(
            mine.vcov_model.loc[slopes, slopes], dummies.cov_params().loc[slopes, slopes], rtol=1e-7, atol=1e-12
        )
        b, sandwich = within_estimate(X, y, cell, rows.school)
        np.testing.assert_allclose(mine.coefficients[slopes], b, rtol=1e-9)
        np.testing.assert_allclose(
            mine.vcov.loc[slopes, slopes], self.small_sample(rows) * sandwich, rtol=1e-7, atol=1e-12
        )

    def test_within_intercept_is_the_generalised_mean_of_what_the_slopes_leave(self, small):
        """Variances by a scalar search on the dense likelihood; the influences of schools by dense
        matrices."""
        rows, X, y, cell = self.baseline_matrices(small)
        mine = fit_baseline(small, [2015, 2016], self.FORMULA, estimator="within")
        b, _ = within_estimate(X, y, cell, rows.school)
        left, Z = y - X[:, 1:] @ b, indicators(cell)[1]

        def at(theta):
            unit = Dense(np.ones((len(y), 1)), left, Z, theta, 1.0)
            return replace_variances(unit, left @ unit.P @ left / len(y))

        def replace_variances(model, sigma2):
            return Dense(model.X, model.y, model.Z, model.tau2 * sigma2, sigma2)

        best = optimize.minimize_scalar(
            lambda t: -at(t).loglik("ML"), bounds=(0.01, 3), method="bounded", options={"xatol": 1e-10}
        )
        model = at(best.x)
        assert mine.coefficients["Intercept"] == pytest.approx(model.b[0], rel=1e-7)
        k = (model.vcov @ model.X.T @ model.Vi).ravel()
        M = np.eye(len(y)) - Z @ np.linalg.pinv(Z)
        S = M @ X[:, 1:]
        slope = (M @ y - S @ b)[:, None] * S @ np.linalg.inv(S.T @ S)
        level = k * (left - model.b[0]) - slope @ (X[:, 1:].T @ k)
        schools = indicators(rows.school)[1].T @ np.column_stack([level, slope])
        np.testing.assert_allclose(mine.vcov, self.small_sample(rows) * schools.T @ schools, rtol=2e-5, atol=1e-9)

    @pytest.mark.parametrize("groups", ["school_cohort", "school"])
    def test_mixed_is_the_dense_sandwich(self, small, groups):
        rows, X, y, cell = self.baseline_matrices(small)
        mine = fit_baseline(small, [2015, 2016], self.FORMULA, groups=groups, method="REML")
        model = Dense(X, y, indicators(cell if groups == "school_cohort" else rows.school)[1], mine.tau2, mine.sigma2)
        np.testing.assert_allclose(mine.coefficients, model.b, rtol=1e-8)
        np.testing.assert_allclose(mine.vcov_model, model.vcov, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(
            mine.vcov, self.small_sample(rows) * cluster_robust(model, rows.school), rtol=1e-6, atol=1e-12
        )
        step = np.linalg.solve(model.information("REML"), model.score("REML"))
        np.testing.assert_allclose(step / [mine.tau2, mine.sigma2], 0, atol=1e-7)

    def test_one_cohort_makes_both_groupings_the_same(self, small):
        a, b = (fit_baseline(small, [2016], groups=g) for g in ("school", "school_cohort"))
        np.testing.assert_allclose(a.coefficients, b.coefficients, rtol=1e-12)
        np.testing.assert_allclose(a.vcov, b.vcov, rtol=1e-10)

    def test_sorted_intakes_bias_least_squares_and_not_within(self):
        """Schools with better effects have better intakes: OLS takes part of the effect into the slope."""
        rng = np.random.default_rng(3)
        slopes = []
        for _ in range(40):
            frame = simulate(rng, schools=60, size=(10, 40), cohorts=(2015, 2016), tau=15, rho=1.0, sorting=2.5)
            slopes.append(
                [
                    fit_baseline(frame, [2015, 2016], estimator=e).coefficients["prior_score"]
                    for e in ("ols", "mixed", "within")
                ]
            )
        slopes = np.array(slopes)
        error = slopes.std(axis=0, ddof=1) / np.sqrt(len(slopes))
        ols, mixed, within = slopes.mean(axis=0) - 0.8
        assert abs(within) < 3 * error[2]
        assert ols > 10 * error[0] and 0 < mixed < ols / 2


class TestArtefact:
    FORMULA = "score ~ poly(prior_score, 2) + C(region) + female:center(prior_score) + school_mean(prior_score)"

    @pytest.fixture
    def rows(self, small):
        return small.assign(region=np.random.default_rng(2).choice(["north", "south", "west"], len(small)))

    def test_saved_and_loaded_it_gives_the_same_bits(self, rows, tmp_path):
        benchmark = fit_baseline(rows, [2015, 2016], self.FORMULA)
        focal = rows[rows.cohort == 2021]  # the baseline students are not there any more
        loaded = Benchmark.load(benchmark.save(tmp_path / "benchmark.json", influences=True))
        for shift, variances in (("estimated", "focal"), ("absorbed", "baseline")):
            a, b = (
                fit_benchmark(rows, 2021, benchmark, shift, variances),
                fit_benchmark(focal, 2021, loaded, shift, variances),
            )
            pd.testing.assert_frame_equal(a.school_effects, b.school_effects, check_exact=True)
            assert (a.loglik, a.shift, a.shift_se) == (b.loglik, b.shift, b.shift_se)
        for field in (
            "formula",
            "cohorts",
            "estimator",
            "groups",
            "method",
            "tau2",
            "sigma2",
            "n_students",
            "n_schools",
            "fingerprint",
        ):
            assert getattr(loaded, field) == getattr(benchmark, field), field
        pd.testing.assert_frame_equal(loaded.vcov, benchmark.vcov, check_exact=True)
        assert check_prior(focal, 2021, loaded) == check_prior(rows, 2021, benchmark)

    def test_saved_for_publication_it_gives_the_same_to_a_small_part_of_the_error(self, rows, tmp_path):
        benchmark = fit_baseline(rows, [2015, 2016], self.FORMULA)
        loaded = Benchmark.load(benchmark.save(tmp_path / "benchmark.json"))
        gap = (loaded.coefficients - benchmark.coefficients).abs() / benchmark.se
        assert 0 < gap.max() <= 5e-4 and loaded.vcov.equals(benchmark.vcov)
        a, b = (fit_benchmark(rows, 2021, one) for one in (benchmark, loaded))
        gap = (a.school_effects["effect"] - b.school_effects["effect"]).abs()
        assert 0 < gap.max() < 5e-3 * a.school_effects["se_comparative"].min()
        assert loaded.save(tmp_path / "again.json").read_bytes() == (tmp_path / "benchmark.json").read_bytes()

    def test_it_holds_no_student_and_no_school(self, rows, tmp_path):
        text = fit_baseline(rows, [2015, 2016], self.FORMULA).save(tmp_path / "b.json").read_text()
        assert not any(code in text for code in [*rows.school.unique(), *rows.student.head(50)])

    def test_transforms_keep_the_baseline_s_centre(self, small):
        """A centred or scaled prior is another name for the same model, if the centre is the baseline's."""
        plain = fit_benchmark(small, 2021, fit_baseline(small, [2015, 2016]))
        for formula in ("score ~ center(prior_score)", "score ~ scale(prior_score)", "score ~ poly(prior_score, 1)"):
            fit = fit_benchmark(small, 2021, fit_baseline(small, [2015, 2016], formula))
            np.testing.assert_allclose(fit.school_effects.effect, plain.school_effects.effect, atol=1e-6)
            np.testing.assert_allclose(
                fit.school_effects.se_comparative, plain.school_effects.se_comparative, rtol=1e-6
            )
            assert fit.shift == pytest.approx(plain.shift, abs=1e-7)

    def test_splines_outside_the_baseline_s_range_do_not_pass_in_silence(self, small):
        """A B-spline has no value beyond its boundary knots: an error is right, a silent zero is not."""
        benchmark = fit_baseline(small, [2015, 2016], "score ~ bs(prior_score, df=4)")
        beyond = small.assign(prior_score=small.prior_score.where(small.cohort < 2021, small.prior_score + 400))
        with pytest.raises(ValibError, match="prior_score"):
            fit_quietly(beyond, 2021, benchmark)

    def test_the_fingerprint_knows_the_rows_and_not_their_order(self, small):
        a = fit_baseline(small, [2015, 2016])
        b = fit_baseline(small.sample(frac=1, random_state=1), [2015, 2016])
        changed = small.copy()
        changed.iloc[0, changed.columns.get_loc("score")] += 0.1
        assert a.fingerprint == b.fingerprint != fit_baseline(changed, [2015, 2016]).fingerprint
        assert a.fingerprint == fit_baseline(small.assign(unused=1), [2015, 2016]).fingerprint
        np.testing.assert_allclose(a.coefficients, b.coefficients, rtol=1e-10)

    def test_summaries_are_of_the_formula_s_columns_only(self, small):
        """A column named 'or' is not part of a formula that says 'score'."""
        benchmark = fit_baseline(small.assign(**{"or": 1.0, "s": 2.0}), [2015, 2016])
        assert set(benchmark.summaries["columns"]) == {"score", "prior_score"}
        rows = small[small.cohort < 2021]
        assert benchmark.summaries["columns"]["prior_score"]["mean"] == pytest.approx(
            rows.prior_score.mean(), rel=1e-12
        )
        stored = benchmark.summaries["score_by_cohort"]
        assert set(stored) == {"2015", "2016"}
        for cohort, score in rows.groupby("cohort").score:
            told = stored[str(cohort)]
            assert (told["n"], told["mean"], told["sd"]) == pytest.approx((len(score), score.mean(), score.std()))
        assert benchmark.column_means["prior_score"] == pytest.approx(rows.prior_score.mean(), rel=1e-10)

    @pytest.fixture
    def saved(self, small, tmp_path):
        return fit_baseline(small, [2015, 2016]).save(tmp_path / "benchmark.json")

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
    def test_a_truncated_file(self, saved, share):
        text = saved.read_text()
        saved.write_text(text[: int(share * len(text))].rstrip("}\n "))
        with pytest.raises(BenchmarkError, match="benchmark.json"):
            Benchmark.load(saved)

    KEYS = [
        "format",
        "design",
        "cohorts",
        "estimator",
        "groups",
        "method",
        "coefficients",
        "vcov",
        "vcov_model",
        "tau2",
        "sigma2",
        "n_students",
        "n_schools",
        "column_means",
        "summaries",
        "fingerprint",
        "checksum",
    ]

    @staticmethod
    def sign(path, content):
        """Write content with the checksum it would have had, so that the other checks are reached."""
        content.pop("checksum", None)
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps(content | {"checksum": digest}))

    @pytest.mark.parametrize("key", KEYS)
    def test_a_missing_entry(self, saved, key):
        content = json.loads(saved.read_text())
        assert set(content) - {"own_shifts", "vcov_students"} == set(self.KEYS)  # those are not asked for
        del content[key]
        if key == "checksum":
            saved.write_text(json.dumps(content))
        else:
            self.sign(saved, content)
        with pytest.raises(BenchmarkError, match="benchmark.json"):
            Benchmark.load(saved)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("format", "valib-benchmark-999"),
            ("coefficients", [1.0]),
            ("coefficients", ["a", "b"]),
            ("coefficients", [1.0, None]),
            ("coefficients", [1.0, float("nan")]),
            ("vcov", [[1.0]]),
            ("vcov", [[1.0, 0.0], [0.0, -1.0]]),
            ("vcov", [[1.0, float("nan")], [0.0, 1.0]]),
            ("vcov", "x"),
            ("tau2", -1.0),
            ("sigma2", 0.0),
            ("sigma2", None),
            ("tau2", "much"),
            ("estimator", "magic"),
            ("groups", "class"),
            ("method", "guess"),
            ("design", {}),
            ("design", []),
            ("cohorts", 2015),
            ("cohorts", ["spring"]),
            ("column_means", [1.0]),
            ("summaries", {}),
            ("summaries", []),
            ("n_students", "many"),
            ("n_schools", -3),
        ],
    )
    def test_an_entry_that_cannot_be(self, saved, key, value):
        content = json.loads(saved.read_text())
        content[key] = value
        self.sign(saved, content)
        with pytest.raises(BenchmarkError, match="benchmark.json"):
            Benchmark.load(saved)

    def test_a_number_changed_by_hand(self, saved):
        content = json.loads(saved.read_text())
        content["coefficients"][1] += 1e-9
        saved.write_text(json.dumps(content))
        with pytest.raises(BenchmarkError, match="changed after"):
            Benchmark.load(saved)

    def test_laid_out_anew_it_is_still_itself(self, saved):
        before = Benchmark.load(saved)
        saved.write_text(json.dumps(json.loads(saved.read_text()), indent=7, sort_keys=True))
        assert Benchmark.load(saved).to_json() == before.to_json()

    @pytest.mark.parametrize("text", ["", "[]", "null", "3", "school,score\n1,2\n", "\x00\x01"])
    def test_another_file(self, tmp_path, text):
        path = tmp_path / "other.json"
        path.write_text(text)
        with pytest.raises(BenchmarkError, match="other.json"):
            Benchmark.load(path)

    def test_no_file_and_a_folder(self, tmp_path):
        for path in (tmp_path / "absent.json", tmp_path):
            with pytest.raises(BenchmarkError, match=path.name):
                Benchmark.load(path)

    def test_a_failed_save_leaves_the_earlier_file(self, small, saved, tmp_path):
        before = saved.read_text()
        damaged = replace(Benchmark.load(saved), tau2=float("nan"))
        with pytest.raises(ValueError):
            damaged.save(saved)
        assert saved.read_text() == before and [p.name for p in tmp_path.iterdir()] == ["benchmark.json"]
        with pytest.raises(BenchmarkError, match="nowhere"):
            Benchmark.load(saved).save(tmp_path / "nowhere" / "b.json")


def _flip(V):
    return [[-v for v in row] for row in V]


DAMAGES = {  # what is done to the content of a kept benchmark whose checksum is then made to fit
    "coefficients swapped": lambda c: c["coefficients"].reverse(),
    "a coefficient as text": lambda c: c["coefficients"].__setitem__(1, str(c["coefficients"][1])),
    "a coefficient far off": lambda c: c["coefficients"].__setitem__(1, 77.0),
    "a truth value for a number": lambda c: c["coefficients"].__setitem__(1, True),
    "errors beyond the spread": lambda c: c.update(vcov=[[1e300, 0.0], [0.0, 1e300]]),
    "not symmetric": lambda c: c["vcov"][0].__setitem__(1, 5.0),
    "a negative variance in the model's": lambda c: c.update(vcov_model=_flip(c["vcov_model"])),
    "names swapped": lambda c: c["design"]["names"].reverse(),
    "a name of another column": lambda c: c["design"].update(names=["Intercept", "female"]),
    "another formula": lambda c: c["design"].update(formula="score ~ 1"),
    "another outcome": lambda c: c["design"].update(formula="score - prior_score ~ prior_score"),
    "no cohort": lambda c: c.update(cohorts=[]),
    "a cohort twice": lambda c: c.update(cohorts=[2015, 2015]),
    "a cohort that has no scores": lambda c: c["cohorts"].append(2099),
    "half a student": lambda c: c.update(n_students=c["n_students"] + 0.5),
    "another number of students": lambda c: c.update(n_students=c["n_students"] + 1),
    "one school": lambda c: c.update(n_schools=1),
    "more schools than students": lambda c: c.update(n_schools=10**9),
    "an intercept's mean of 2": lambda c: c["column_means"].__setitem__(0, 2.0),
    "a summary without its mean": lambda c: c["summaries"]["columns"]["score"].pop("mean"),
    "a blank for a mean": lambda c: c["summaries"]["columns"]["prior_score"].update(mean=None),
    "a negative spread": lambda c: c["summaries"]["score_by_cohort"]["2015"].update(sd=-1.0),
    "a spread beyond all squares": lambda c: c["summaries"]["score_by_cohort"]["2015"].update(sd=1e300),
    "a column that no formula has": lambda c: c["summaries"]["columns"].update(x={"n": 1, "mean": 0.0, "sd": 1.0}),
    "a shift without its error": lambda c: c["own_shifts"]["2015"].pop("se"),
    "an entry of no version": lambda c: c.update(effects=[]),
    "a fingerprint that is none": lambda c: c.update(fingerprint="../x"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_benchmark_whose_checksum_fits_is_refused_in_a_sentence(kept_demo, tmp_path, damage):
    content = json.loads(json.dumps(kept_demo))
    DAMAGES[damage](content)
    del content["checksum"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (tmp_path / "kept.json").write_text(json.dumps(content | {"checksum": digest}))
    with pytest.raises(BenchmarkError, match=r"kept.json' (is damaged|cannot be used)") as caught:
        Benchmark.load(tmp_path / "kept.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_of_a_benchmark_that_is_not_finite_is_refused(kept_demo, tmp_path, number):
    text = json.dumps(kept_demo).replace(f'"tau2": {kept_demo["tau2"]!r}', f'"tau2": {number}')
    (tmp_path / "kept.json").write_text(text)
    with pytest.raises(BenchmarkError, match="no finite number"):
        Benchmark.load(tmp_path / "kept.json")


@pytest.fixture(scope="module")
def kept_demo():
    rng = np.random.default_rng(5)
    n = 600
    prior, school = rng.normal(500, 60, n), rng.integers(0, 20, n)
    frame = pd.DataFrame(
        {
            "student": [f"P{k}" for k in range(n)],
            "school": [f"S{k}" for k in school],
            "cohort": np.where(np.arange(n) % 2, 2015, 2016),
            "score": 0.6 * prior + rng.normal(0, 20, 20)[school] + rng.normal(0, 30, n),
            "prior_score": prior,
        }
    )
    return fit_baseline(frame, [2015, 2016]).to_json()


class TestPatternsOfPriorScores:
    """``known`` and ``if_known``: nobody is left out, and each pattern of what is known has a line of its own."""

    FORMULA = "score ~ prior_score * known(maths) + if_known(maths)"

    def records(self, seed=5):
        """Schools' effects are the same for both patterns; weak students lack the second score more often."""
        rng, schools, n = np.random.default_rng(seed), 120, 60
        school = np.repeat(np.arange(2 * schools), n)
        prior, effect = rng.normal(0, 1, len(school)), rng.normal(0, 0.3, schools)
        maths = 0.6 * prior + rng.normal(0, 0.8, len(school))
        lacks = rng.random(len(school)) < 1 / (1 + np.exp(1 + prior))
        score = 0.5 * prior + 0.4 * maths + effect[school % schools] + rng.normal(0, 0.7, len(school))
        codes = [f"S{j:03d}" for j in school % schools]
        frame = pd.DataFrame({"student": np.arange(len(school)).astype(str), "school": codes, "score": score})
        return frame.assign(cohort=2015 + school // schools, prior_score=prior, maths=np.where(lacks, np.nan, maths))

    def test_the_lines_come_back(self):
        """Missing at random given the first score: without the second, the expected score is .5 + .4 x .6 = .74 prior."""
        baseline = fit_baseline(self.records(), [2015, 2016], self.FORMULA)
        b, error = baseline.coefficients, np.sqrt(np.diag(baseline.vcov))
        truth = {"prior_score": 0.74, "if_known(maths)": 0.4, "prior_score:known(maths)": 0.5 - 0.74}
        for name, value in truth.items():
            assert abs(b[name] - value) < 4 * error[list(b.index).index(name)], name
        assert baseline.n_students == 2 * 120 * 60

    def test_a_kept_benchmark_gives_a_later_cohort_the_same(self, tmp_path):
        records = self.records()
        baseline = fit_baseline(records, [2015], self.FORMULA)
        baseline.save(tmp_path / "kept.json")
        here, kept = (fit_quietly(records, 2016, b) for b in (baseline, Benchmark.load(tmp_path / "kept.json")))
        np.testing.assert_allclose(here.school_effects["effect"], kept.school_effects["effect"], atol=0.002)
        assert here.n_students == 120 * 60 and abs(here.shift) < 4 * here.shift_se

    def test_a_pattern_that_no_student_has_is_named(self):
        with pytest.raises(ValibError, match=r"'known\(maths\)' is constant"):
            fit_baseline(self.records().fillna({"maths": 0.0}), [2015, 2016], self.FORMULA)
