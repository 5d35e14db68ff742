"""What the figures draw: the data handed in, legible text, no single student, the same bytes twice."""

from __future__ import annotations

import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.text import Text
from scipy import stats

from valib.errors import ValibError
from valib.pages import figures as plotting
from valib.pages.figures import style

HOSTILE = (
    "St. Mary's & Co_50%",
    "$x$",
    r"\frac{a}{b $\alpha^$",
    "#1 ~ {braces} <b> ^_",
    "two\nlines\tand a tab",
    "Our Lady of Perpetual Help Comprehensive Secondary College of the Valley, North",
)
COHORTS = (2019, 2021, 2023, 2024)


def effects(schools: int = 60, seed: int = 1, shift: float = 0.0) -> pd.DataFrame:
    """A table like CohortFit.school_effects, with six schools of three students."""
    rng = np.random.default_rng(seed)
    n = np.clip(rng.lognormal(3.4, 0.7, schools).astype(int), 8, 200)
    n[:6] = 3
    shrinkage = n * 225 / (n * 225 + 2025)
    effect = shift + shrinkage * rng.normal(0, 18, schools)
    se = 15 * np.sqrt(1 - shrinkage)
    names = [*HOSTILE, *(f"{i:05d}" for i in range(schools))][:schools]
    columns = {"n": n, "effect": effect, "shrinkage": shrinkage}
    table = pd.DataFrame(columns, index=pd.Index(names, name="school"))
    return table.assign(lower=effect - 1.96 * se, upper=effect + 1.96 * se)


def ranks(schools: int = 60) -> pd.DataFrame:
    table = effects(schools)
    expected = table["effect"].rank(ascending=False)
    return pd.DataFrame(
        {
            "expected_rank": expected,
            "rank_lower": np.clip(expected - 9, 1, None),
            "rank_upper": np.clip(expected + 9, None, schools),
            "n": table["n"],
        }
    )


def frames() -> pd.DataFrame:
    parts = []
    for k, cohort in enumerate(COHORTS):
        relative = effects(seed=cohort).reset_index()
        moved = 0.97 * relative["effect"] - 5 * k + np.random.default_rng(k).normal(0, 1, len(relative))
        parts += [
            relative.assign(cohort=cohort, model="Relative"),
            relative.assign(cohort=cohort, model="Benchmark", effect=moved),
        ]
    return pd.concat(parts, ignore_index=True)


def shift_table() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "cohort": COHORTS,
            "shift": [2.0, -6.0, -9.0, -14.0],
            "se": [1.5, 1.6, 1.7, 2.0],
            "se_students": [0.9, 0.8, 1.0, 1.2],
        }
    )
    return table.assign(lower=table["shift"] - 1.96 * table["se"], upper=table["shift"] + 1.96 * table["se"])


def context_table() -> pd.DataFrame:
    """Two baseline cohorts and a focal one, as valib.shift_in_context has them."""
    return pd.DataFrame(
        {
            "cohort": [2016, 2017, 2021],
            "role": ["baseline", "baseline", "focal"],
            "shift": [-0.5, 0.5, -6.0],
            "lower": [-1.5, -0.5, -8.0],
            "upper": [0.5, 1.5, -4.0],
            "leave_one_out": [-1.0, 1.0, np.nan],
            "year_lower": [np.nan, np.nan, -11.0],
            "year_upper": [np.nan, np.nan, -1.0],
        }
    )


def summary() -> pd.DataFrame:
    years = [2015, 2016, 2017, 2018, 2019, 2021, 2023, 2024]
    scores, priors = np.linspace(480, 466, 8), np.linspace(430, 433, 8)
    columns = {"score_mean": scores, "score_sd": 72.0, "prior_mean": priors, "prior_sd": 70.0}
    return pd.DataFrame(columns, index=pd.Index(years, name="cohort"))


def prior_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cohort": ["Baseline", "2019", "2021"],
            "q05": [310, 300, 305],
            "q25": [380, 370, 375],
            "q50": [430, 421, 428],
            "q75": [478, 470, 475],
            "q95": [548, 540, 546],
            "smd": [np.nan, -0.12, -0.03],
            "variance_ratio": [np.nan, 1.08, 1.02],
        }
    )


def byhand() -> pd.DataFrame:
    raw = np.random.default_rng(2).normal(0, 40, 18)
    return pd.DataFrame(
        {
            "subject": [str(300 + i) for i in range(18)],
            "raw": raw,
            "blup": 0.93 * raw,
            "lower": 0.93 * raw - 19,
            "upper": 0.93 * raw + 19,
        }
    )


def recipe_table() -> pd.DataFrame:
    names = ["Relative model, the focal cohort's own coefficients", "Question: $OLS$", "Estimated shift"]
    return pd.DataFrame(
        {
            "recipe": names,
            "effect": [-13.0, -25.2, -27.4],
            "lower": [-24.0, -37.0, -39.4],
            "upper": [-2.0, -14.0, -15.7],
        }
    )


def measured_growth() -> pd.DataFrame:
    points = [
        (along, 10.0**k, 10.0**k / 2e7)
        for along, ks in (
            ("Students", range(4, 8)),
            ("Schools", range(1, 6)),
            ("Covariates", range(2)),
            ("Cohorts", (0.3, 1)),
        )
        for k in ks
    ]
    table = pd.DataFrame(points, columns=["along", "value", "seconds"]).assign(memory_mib=lambda t: 90 * t["seconds"])
    return table.assign(low=0.9 * table["seconds"], high=1.2 * table["seconds"])


def students(seed: int = 4, size: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prior = rng.normal(430, 72, size)
    return prior, 110 + 0.85 * prior + rng.normal(0, 45, size)


X = np.linspace(250, 600, 40)
LINE = (X, 110 + 0.85 * X, 107 + 0.85 * X, 113 + 0.85 * X)
BELL = stats.norm.pdf(X, 430, 72)
NORMAL = np.random.default_rng(5).normal(size=5000)
DRAWS = np.random.default_rng(6).normal(-14, 1.6, 200)

FIGURES = {
    "benchmark_idea": lambda: plotting.benchmark_idea(),
    "growth": lambda: plotting.growth(*students(), LINE),
    "cohort_scores": lambda: plotting.cohort_scores(summary()),
    "school_sizes": lambda: plotting.school_sizes(effects()["n"], min_n=5),
    "caterpillar": lambda: plotting.caterpillar(effects(), 0.95, HOSTILE[:4], 3, overlap=np.full(60, 5.0), shift=-4.0),
    "shrinkage": lambda: plotting.shrinkage(effects(), effects()["effect"] / effects()["shrinkage"], min_n=5),
    "residual_checks": lambda: plotting.residual_checks(NORMAL[:60], NORMAL),
    "rank_intervals": lambda: plotting.rank_intervals(ranks(), HOSTILE[5], min_n=1),
    "type_ab": lambda: plotting.type_ab(
        effects(), effects(seed=2), "Type A value added", "Type B value added", highlight=HOSTILE[:2]
    ),
    "byhand_blup": lambda: plotting.byhand_blup(byhand(), highlight=308),
    "recipes": lambda: plotting.recipes(recipe_table()),
    "va_density": lambda: plotting.va_density(frames(), min_n=5),
    "shifts": lambda: plotting.shifts(context_table()),
    "shift_over_prior": lambda: plotting.shift_over_prior(X, X / 50 - 20, X / 50 - 22, X / 50 - 18, BELL, at=430.0),
    "relative_vs_benchmark": lambda: plotting.relative_vs_benchmark(frames(), min_n=5),
    "prior_shift": lambda: plotting.prior_shift(prior_table()),
    "bootstrap_vs_analytic": lambda: plotting.bootstrap_vs_analytic(DRAWS, -14.2, 1.7),
    "scaling": lambda: plotting.scaling(measured_growth()),
    "measures_beside": lambda: plotting.measures_beside(measures(), marked="Benchmark VA"),
    "release_steps": plotting.release_steps,
}


def measures() -> pd.DataFrame:
    """Two measures of the same schools, the second around -14."""
    relative = effects()["effect"]
    return pd.DataFrame(
        {"Relative VA of scores standardised within the year": relative, "Benchmark VA": relative - 14.0}
    )


def png(fig) -> bytes:
    stream = io.BytesIO()
    fig.savefig(stream, format="png", dpi=70)
    return stream.getvalue()


def texts(fig) -> list[str]:
    return [t.get_text() for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]


def by_gid(fig, gid: str) -> list:
    return fig.findobj(lambda artist: artist.get_gid() == gid)


def segments(fig, gid: str) -> np.ndarray:
    """(k, 2, 2): the ends of all lines of this gid."""
    lines = [c for c in by_gid(fig, gid) if isinstance(c, LineCollection)]
    return np.array([segment for c in lines for segment in c.get_segments()])


def note(fig) -> str:
    return " ".join(" ".join(t.get_text() for t in by_gid(fig, "note")).split())


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_legible_whole_and_untangled(name):
    legible(FIGURES[name])


def legible(draw) -> None:
    """Drawing warns of nothing; every text is large enough and inside the figure, and no two of a group overlap."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw()
        fig.canvas.draw()
    renderer = fig.canvas.get_renderer()
    width, height = fig.get_size_inches() * fig.dpi
    panels = [ax for ax in fig.axes if ax.get_visible()]
    hidden = set(fig.axes) - set(panels)
    written = [
        text
        for text in fig.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text.axes not in hidden and shown(text, fig)
    ]
    assert written
    for text in written:
        assert text.get_fontsize() >= 8.5
        box = Text.get_window_extent(text, renderer)
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 0.5 and box.y1 <= height, text.get_text()
    groups = [[ax._left_title for ax in panels if ax.get_title(loc="left")] + by_gid(fig, "note")]
    groups += [labels for ax in panels for labels in (ax.get_xticklabels(), ax.get_yticklabels())]
    for group in groups:
        boxes = [t.get_window_extent(renderer) for t in group if t.get_text() and t.get_visible() and shown(t, fig)]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def shown(text: Text, fig) -> bool:
    """False for the tick labels that matplotlib keeps outside the limits of an axis and never draws."""
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            if any(text is t.label1 or text is t.label2 for t in ticks):
                low, high = sorted(axis.get_view_interval())
                return any(t.label1 is text and low <= t.get_loc() <= high for t in ticks)
    return True


def test_the_parts_of_benchmark_value_added_are_drawn_to_scale():
    fig = plotting.benchmark_idea(intercept=10.0, slope=0.5, prior=100.0, shift=-4.0, relative=3.0)
    words = " ".join(" ".join(texts(fig)).split())
    assert "system shift −4" in words and "relative value added +3" in words and "benchmark value added −1" in words
    (school,) = by_gid(fig, "school")
    assert (school.get_xdata()[0], school.get_ydata()[0]) == (100.0, 10.0 + 50.0 - 4.0 + 3.0)


def test_measures_stand_where_their_quantiles_and_means_are():
    fig, table = plotting.measures_beside(measures(), marked="Benchmark VA"), measures()
    thin, thick = segments(fig, "5th to 95th percentile"), segments(fig, "middle half")
    np.testing.assert_allclose(thin[:, :, 0].T, table.quantile([0.05, 0.95]))
    np.testing.assert_allclose(thick[:, :, 0].T, table.quantile([0.25, 0.75]))
    (means,) = by_gid(fig, "mean")
    np.testing.assert_allclose(means.get_offsets()[:, 0], table.mean())
    assert np.diff(means.get_offsets()[:, 0])[0] == pytest.approx(-14.0)


@pytest.mark.parametrize("name", FIGURES)
def test_same_call_same_bytes_and_pyplot_keeps_nothing(name):
    before = plt.get_fignums()
    assert png(FIGURES[name]()) == png(FIGURES[name]())
    assert plt.get_fignums() == before


def test_look_does_not_depend_on_the_session_style():
    plain = png(plotting.shifts(shift_table()))
    with plt.style.context("dark_background"):
        assert png(plotting.shifts(shift_table())) == plain


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_saved_files_carry_no_date(tmp_path, ending):
    for name in ("a", "b"):
        plotting.save(plotting.recipes(recipe_table()), tmp_path / f"{name}.{ending}")
    content = (tmp_path / f"a.{ending}").read_bytes()
    assert content == (tmp_path / f"b.{ending}").read_bytes()
    assert b"CreationDate" not in content and b"<dc:date>" not in content


def test_notebooks_show_pixels_and_undated_vectors_whatever_the_session_style():
    fig, again = plotting.shifts(shift_table()), plotting.shifts(shift_table())
    with plt.style.context({"savefig.dpi": 50, "savefig.bbox": "tight"}):
        pixels, vectors = fig._repr_png_(), fig._repr_pdf_()
    width, height = np.frombuffer(pixels[16:24], dtype=">u4")  # the PNG header
    assert (width, height) == (1280, 700)  # 6.4 in by 3.5 in at 200 dpi
    assert vectors.startswith(b"%PDF") and b"CreationDate" not in vectors
    assert (pixels, vectors) == (again._repr_png_(), again._repr_pdf_())


@pytest.mark.parametrize("name", HOSTILE)
def test_safe_name_draws_the_name_as_written(name):
    text = style.safe_name(name, 90)
    drawn, is_math = Text(0, 0, text)._preprocess_math(text)
    assert not is_math
    assert drawn == " ".join(name.split())


def test_safe_name_keeps_both_ends_of_long_names():
    campuses = [style.safe_name(f"{HOSTILE[5]} {side} campus") for side in ("upper", "lower")]
    assert len(set(campuses)) == 2
    assert all(len(c) <= 32 and c.startswith("Our Lady") and c.endswith("campus") for c in campuses)


@pytest.mark.parametrize(
    ("value", "sign", "written"),
    [(-14.04, True, "−14.0"), (2, True, "+2.0"), (-0.04, True, "0.0"), (3.25, False, "3.2")],
)
def test_number_has_a_typographic_minus_and_no_negative_zero(value, sign, written):
    assert style.number(value, 1, sign) == written


def test_correlation_never_rounds_up_to_one():
    a = np.arange(100.0)
    assert style.correlation(a, a + NORMAL[:100] / 5) == "\N{GREEK SMALL LETTER RHO} > 0.999"
    assert style.correlation(a, 2 * a + 1) == "\N{GREEK SMALL LETTER RHO} = 1.000"
    assert style.correlation(a, -a) == "\N{GREEK SMALL LETTER RHO} = −1.000"


def test_break_at_gaps_separates_years_that_do_not_follow():
    x, y = style.break_at_gaps([2021, 2018, 2019], [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(y, [1.0, 2.0, np.nan, 3.0])
    assert x[2] < 2021 and x[2] > 2019


def test_spread_moves_labels_apart_in_order_around_their_places():
    placed = style.spread([10.0, 0.0, 0.2, 0.1], 1.0)
    assert placed[0] == 10.0
    np.testing.assert_allclose(placed[[1, 3, 2]], [-0.9, 0.1, 1.1])


def test_growth_draws_the_line_given_and_drops_thin_hexagons():
    prior, score = students(size=900)
    fig = plotting.growth(prior, score, LINE, min_n=6)
    counts = fig.axes[0].collections[0].get_array()
    assert counts.min() >= 6
    assert f"{900 - int(counts.sum())} students in hexagons of fewer than 6 not shown" in note(fig)
    line = by_gid(fig, "line")[0]
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack(LINE[:2]))
    band = fig.axes[0].collections[1].get_paths()[0].vertices
    assert {*np.round(LINE[2], 6)} | {*np.round(LINE[3], 6)} <= {*np.round(band[:, 1], 6)}


def test_growth_axes_do_not_betray_an_extreme_student():
    prior, score = students(size=900)
    fig = plotting.growth(np.append(prior, 2000.0), np.append(score, -900.0))
    assert fig.axes[0].get_xlim()[1] < 1000 and fig.axes[0].get_ylim()[0] > -100


def test_growth_of_a_handful_of_students_shows_none():
    fig = plotting.growth([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert "3 students in hexagons of fewer than 5 not shown" in note(fig)


def test_cohort_scores_draws_means_and_sds_without_a_line_over_missing_years():
    table = summary()
    fig = plotting.cohort_scores(table)
    for stem in ("score", "prior"):
        line = by_gid(fig, f"{stem}-mean")[0].get_ydata()
        np.testing.assert_array_equal(line[~np.isnan(line)], table[f"{stem}_mean"])
        assert np.isnan(line).sum() == 2  # 2020 and 2022
    bars = [s for c in fig.axes[0].collections if isinstance(c, LineCollection) for s in c.get_segments()]
    expected = sorted(
        [m - s, m + s]
        for stem in ("score", "prior")
        for m, s in zip(table[f"{stem}_mean"], table[f"{stem}_sd"], strict=True)
    )
    np.testing.assert_allclose(sorted(b[:, 1].tolist() for b in bars), expected)
    assert len(by_gid(fig, "gap")) == 2


def test_school_sizes_counts_cells_of_records_and_those_too_small():
    records = pd.DataFrame({"school": ["a"] * 7 + ["b"] * 3 + ["a"] * 4, "cohort": [1] * 10 + [2] * 4})
    fig = plotting.school_sizes(records, min_n=5)
    assert sum(p.get_height() for p in fig.axes[0].patches) == 3
    assert "2 of 3 cells hold fewer than 5 students" in note(fig)
    assert "median under 5" in texts(fig)
    tall = plotting.school_sizes(pd.Series([1, 4, 4, 30, 40, 50, 60]), min_n=5)
    flat = plotting.school_sizes(pd.Series([2, 2, 3, 30, 40, 50, 60]), min_n=5)
    bars = [[(p.get_x(), p.get_width(), p.get_height()) for p in fig.axes[0].patches] for fig in (tall, flat)]
    assert bars[0] == bars[1] and bars[0][0][2] == 3, "sizes below the minimum can be told from one another"


def test_caterpillar_draws_each_interval_in_order_and_states_what_it_left_out():
    table = effects()
    fig = plotting.caterpillar(table, 0.9, min_n=5)
    drawn = segments(fig, "interval")
    kept = table[table["n"] >= 5].sort_values("effect")
    drawn = drawn[np.argsort(drawn[:, 0, 0])]
    np.testing.assert_array_equal(drawn[:, 0, 0], np.arange(1, 55))
    np.testing.assert_allclose(drawn[:, :, 1], kept[["lower", "upper"]])
    below, above = int((kept["upper"] < 0).sum()), int((kept["lower"] > 0).sum())
    counts = f"{below} below 0 (▼), {54 - below - above} across it (●), {above} above it"
    assert f"90% intervals: {counts}" in note(fig)
    assert "6 schools not shown: fewer than 5 students, or hiding one that has." in note(fig)


def test_caterpillar_never_names_a_school_that_is_held_back():
    table = effects()
    table.iloc[0, 1:5:3] = 99.0
    whole, held = (" ".join(texts(plotting.caterpillar(table, 0.95, HOSTILE[0], 2, min_n=m))) for m in (1, 5))
    assert "St. Mary" in whole and "St. Mary" not in held


def test_caterpillar_names_the_extremes_and_draws_overlap_widths():
    table = effects()
    fig = plotting.caterpillar(table, label_extremes=2, overlap=np.arange(60) / 10)
    ordered = table.assign(half=np.arange(60) / 10).sort_values("effect")
    for name in (*ordered.index[:2], *ordered.index[-2:]):
        assert style.safe_name(name) in texts(fig)
    drawn = segments(fig, "overlap")
    drawn = drawn[np.argsort(drawn[:, 0, 0])]
    np.testing.assert_allclose(drawn[:, 0, 1], ordered["effect"] - ordered["half"])
    np.testing.assert_allclose(drawn[:, 1, 1], ordered["effect"] + ordered["half"])


def test_three_thousand_schools_are_one_collection_and_rasterised():
    table = effects(3000)
    fig = plotting.caterpillar(table, 0.95, label_extremes=3)
    png(fig)
    assert len(segments(fig, "interval")) == 3000
    assert all(c.get_rasterized() for c in by_gid(fig, "interval"))


def test_shrinkage_curve_is_lambda_of_n_and_pulls_run_from_raw_to_blup():
    table = effects()
    raw = (table["effect"] / table["shrinkage"]).sample(frac=1, random_state=1)  # matched by name
    fig = plotting.shrinkage(table, raw)
    n, factor = by_gid(fig, "curve")[0].get_data()
    np.testing.assert_allclose(factor, n * 225 / (n * 225 + 2025))
    pulls = {tuple(np.round(s.ravel(), 9)) for s in segments(fig, "pull")}
    expected = np.column_stack([table["n"], raw.reindex(table.index), table["n"], table["effect"]])
    assert pulls == {tuple(np.round(row, 9)) for row in expected}


def test_shrinkage_of_a_singular_fit_is_flat():
    table = effects().assign(shrinkage=0.0, effect=0.0)
    assert not by_gid(plotting.shrinkage(table, np.ones(60)), "curve")[0].get_ydata().any()


def test_residual_checks_points_are_schools_and_group_averages_of_students():
    student = NORMAL[:1005]
    fig = plotting.residual_checks(NORMAL[:60], student, min_n=10)
    schools, groups = (ax.lines[1].get_ydata() for ax in fig.axes)
    np.testing.assert_array_equal(schools, np.sort(NORMAL[:60]))
    assert len(groups) == 100
    np.testing.assert_allclose(groups[0], np.sort(student)[:11].mean())
    assert not np.isin(groups, student).any()
    assert "100 groups of 10 or more" in note(fig)


def test_residual_band_covers_normal_order_statistics_as_often_as_it_says():
    rng = np.random.default_rng(8)
    _, low, high = plotting.students._normal_scores(40, 0.9)
    draws = np.sort(rng.normal(size=(4000, 40)), axis=1)
    np.testing.assert_allclose(((draws > low) & (draws < high)).mean(axis=0), 0.9, atol=0.025)  # 5 MC errors


def test_rank_intervals_puts_rank_one_on_top_and_marks_the_school():
    table = ranks()
    fig = plotting.rank_intervals(table, "00007")
    ax = fig.axes[0]
    assert ax.get_ylim()[0] > 60 and ax.get_ylim()[1] < 1
    drawn = segments(fig, "interval")
    ordered = table.sort_values("expected_rank", ascending=False)
    np.testing.assert_allclose(drawn[:, :, 1], ordered[["rank_lower", "rank_upper"]])
    assert f"00007: expected rank {table.loc['00007', 'expected_rank']:.0f}" in texts(fig)


def test_type_ab_matches_schools_by_name_and_states_their_correlation():
    a, b = effects(), effects(seed=2).sample(frac=1, random_state=3).iloc[5:]
    fig = plotting.type_ab(a, b, "A", "B", min_n=5)
    both = a.join(b.add_suffix("_b"), how="inner").query("n >= 5 and n_b >= 5")
    r = np.corrcoef(both["effect"], both["effect_b"])[0, 1]
    assert f"{style.RHO} = {r:.3f}".replace("-", "−") in note(fig) and f"{len(both)} schools" in note(fig)
    identity = by_gid(fig, "identity")[0].get_xydata()
    np.testing.assert_array_equal(identity[:, 0], identity[:, 1])


def test_type_ab_says_so_when_one_set_does_not_vary():
    assert f"{style.RHO} not defined" in note(plotting.type_ab(np.zeros(5), np.arange(5.0), "A", "B"))


def test_byhand_blup_draws_limits_and_marks_the_subject():
    table = byhand().sort_values("raw")
    fig = plotting.byhand_blup(table.sample(frac=1, random_state=1), highlight=308)
    np.testing.assert_allclose(segments(fig, "interval")[:, :, 0], table[["lower", "upper"]])
    arrows = [(t.xyann[0], t.xy[0]) for t in fig.axes[0].texts]
    np.testing.assert_allclose(arrows, table[["raw", "blup"]])
    assert [t.get_text() for t in fig.axes[0].get_yticklabels() if t.get_fontweight() == "bold"] == ["308"]


def test_recipes_draws_and_writes_every_estimate():
    table = recipe_table()
    fig = plotting.recipes(table)
    np.testing.assert_allclose(segments(fig, "interval")[:, :, 0], table[["lower", "upper"]])
    assert "−27.4  [−39.4, −15.7]" in texts(fig)


def test_va_density_marks_means_and_integrates_to_one():
    table = frames()
    fig = plotting.va_density(table, min_n=5)
    means = table.groupby(["cohort", "model"])["effect"].mean()
    for ax, cohort in zip(fig.axes, COHORTS, strict=True):
        for model in ("Relative", "Benchmark"):
            marker = next(line for line in ax.lines if line.get_gid() == f"mean {model}")
            np.testing.assert_allclose(marker.get_xdata(), means[cohort, model])
            x, y = next(line for line in ax.lines if line.get_gid() == model).get_data()
            np.testing.assert_allclose(np.nansum(y) * (x[1] - x[0]), 1, atol=0.02)  # thin tails not drawn
            assert any(style.number(means[cohort, model], 1, True) in t.get_text() for t in ax.texts)
    assert "24 school-cohort cells not shown: fewer than 5 students, or hiding one that has." in note(fig)
    assert texts(fig).count("54 schools") == 4


@pytest.mark.parametrize("absent", ["Relative", "Benchmark"])
def test_a_cohort_with_one_model_keeps_that_model_s_colour_and_every_row_names_it(absent):
    table = frames()
    table = table[(table["cohort"] != COHORTS[0]) | (table["model"] != absent)]
    fig = plotting.va_density(table)
    colours = [
        {line.get_gid(): line.get_color() for line in ax.lines if line.get_gid() in ("Relative", "Benchmark")}
        for ax in fig.axes
    ]
    assert colours[0].keys() == {"Relative", "Benchmark"} - {absent}
    assert colours[0].items() <= colours[1].items() and len(set(colours[1].values())) == 2
    assert all(
        any(model in t.get_text() for t in ax.texts) for ax, row in zip(fig.axes, colours, strict=True) for model in row
    )


def test_va_density_of_a_singular_fit_is_a_spike_at_its_mean():
    table = frames()
    relative = table["model"] == "Relative"
    table.loc[relative, "effect"] = 0.0
    fig = plotting.va_density(table)
    x, y = next(line for line in fig.axes[0].lines if line.get_gid() == "Relative").get_data()
    assert abs(x[np.nanargmax(y)]) < 2 * (x[1] - x[0]) and (~np.isnan(y)).sum() < 15


def test_va_density_takes_model_names_in_any_case_and_any_order():
    table = frames()
    other = table.assign(model=table["model"].str.lower()).iloc[::-1]
    assert png(plotting.va_density(other)) == png(plotting.va_density(table))


def test_shifts_draws_intervals_and_values():
    table = shift_table()
    fig = plotting.shifts(table.iloc[::-1])
    np.testing.assert_allclose(segments(fig, "interval")[:, :, 1], table[["lower", "upper"]])
    assert {"+2.0", "−6.0", "−9.0", "−14.0"} <= set(texts(fig))
    assert not len(segments(fig, "year")) and not len(segments(fig, "baseline interval"))
    assert "ordinary year" not in note(fig) and "Grey" not in note(fig)


def test_shifts_draws_the_baseline_s_own_shifts_and_the_further_year_where_they_are_known():
    context = context_table()
    fig = plotting.shifts(context)
    assert by_gid(fig, "baseline")[0].get_ydata().tolist() == [-0.5, 0.5]
    assert segments(fig, "baseline interval")[:, :, 1].tolist() == [[-1.5, 0.5], [-0.5, 1.5]]
    assert segments(fig, "year")[:, :, 1].tolist() == [[-11.0, -1.0]]
    assert segments(fig, "interval")[:, :, 1].tolist() == [[-8.0, -4.0]]
    assert by_gid(fig, "left out")[0].get_ydata().tolist() == [-1.0, 1.0]
    assert "thin line: of a further ordinary year" in note(fig) and "Grey: each baseline cohort" in note(fig)


def test_shift_over_prior_draws_what_it_is_given():
    fig = plotting.shift_over_prior(X, X / 50 - 20, X / 50 - 22, X / 50 - 18, BELL, at=400.0)
    np.testing.assert_array_equal(by_gid(fig, "shift")[0].get_xydata(), np.column_stack([X, X / 50 - 20]))
    band = by_gid(fig, "band")[0].get_paths()[0].vertices[:, 1]
    assert band.min() == (X / 50 - 22).min() and band.max() == (X / 50 - 18).max()
    assert "−12.0 at the baseline mean" in texts(fig)


def test_relative_vs_benchmark_states_shift_and_correlation_of_each_cohort():
    table = frames()
    fig = plotting.relative_vs_benchmark(table.sample(frac=1, random_state=2))
    for cohort, part in table.groupby("cohort"):
        wide = part.pivot(index="school", columns="model", values="effect")
        gap = (wide["Benchmark"] - wide["Relative"]).mean()
        r = np.corrcoef(wide["Relative"], wide["Benchmark"])[0, 1]
        assert f"{cohort}:  {style.number(gap, 1, True)},  {style.RHO} = {r:.3f}" in texts(fig)
        x, y = by_gid(fig, f"slope one {cohort}")[0].get_data()
        np.testing.assert_allclose(y - x, gap)


def test_prior_shift_draws_quantiles_and_states_both_measures():
    fig = plotting.prior_shift(prior_table())
    np.testing.assert_array_equal(segments(fig, "outer")[:, :, 0], prior_table()[["q05", "q95"]])
    np.testing.assert_array_equal(segments(fig, "inner")[:, :, 0], prior_table()[["q25", "q75"]])
    assert {"−0.12", "1.08", "−0.03", "1.02"} <= set(texts(fig))


def test_prior_shift_from_means_draws_one_sd():
    table = prior_table()[["cohort", "smd", "variance_ratio"]].assign(mean=[430.0, 421.0, 428.0], sd=70.0)
    np.testing.assert_array_equal(segments(plotting.prior_shift(table), "inner")[0, :, 0], [360.0, 500.0])


def test_bootstrap_vs_analytic_states_both_errors_and_draws_the_normal():
    fig = plotting.bootstrap_vs_analytic(DRAWS, -14.2, 1.7)
    x, y = by_gid(fig, "normal")[0].get_data()
    np.testing.assert_allclose(y, stats.norm.pdf(x, -14.2, 1.7))
    low, high = np.quantile(DRAWS, [0.025, 0.975])
    words = " ".join(texts(fig))
    assert f"Bootstrap: SE {DRAWS.std(ddof=1):.2f}, 95% {style.number(low)} to {style.number(high)}" in words
    assert "Analytic: SE 1.70, 95% −17.5 to −10.9" in words
    np.testing.assert_allclose(segments(fig, "interval Bootstrap")[0][:, 0], [low, high])
    bars = fig.axes[0].patches
    np.testing.assert_allclose(sum(b.get_height() * b.get_width() for b in bars), 1)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plotting.caterpillar(effects().drop(columns="lower")), "needs the column.* lower"),
        (lambda: plotting.caterpillar(effects().drop(columns="n"), min_n=5), "min_n = 5. needs the .* n"),
        (lambda: plotting.caterpillar(effects(), min_n=500), "every school has fewer than 500 students"),
        (lambda: plotting.recipes(recipe_table().iloc[:0]), "recipes got a table without rows"),
        (lambda: plotting.growth([1.0], [1.0, 2.0]), "1 prior scores and 2 scores"),
        (lambda: plotting.type_ab([1.0], [1.0, 2.0], "A", "B"), "1 and 2 effects"),
        (lambda: plotting.relative_vs_benchmark(frames()[::2].query("cohort == 0")), "without rows"),
        (lambda: plotting.relative_vs_benchmark(frames().query("model == 'Relative'")), "needs both models"),
        (lambda: plotting.bootstrap_vs_analytic([1.0, 2.0], 0.0, 0.0), "positive standard error"),
        (lambda: plotting.residual_checks([1.0], NORMAL), "two schools"),
        (lambda: plotting.school_sizes([]), "no school"),
    ],
)
def test_unusable_input_is_one_clear_sentence(draw, message):
    with pytest.raises(ValibError, match=message):
        draw()
