"""Figures of drift and stability: the data handed in, legible text, the same bytes twice, errors in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_figures import HOSTILE, by_gid, legible, note, png, segments, texts

from valib.effects import stability
from valib.effects.stability import attenuation_curves
from valib.errors import ValibError
from valib.pages import figures as plotting
from valib.pages.figures.stability import DEEPEST
from valib.pages.figures.style import BLUE, VERMILLION, number
from valib.pages.figures.ways import WAYS

YEARS = [2019, 2021, 2023, 2024]


def ways_table(years=YEARS) -> pd.DataFrame:
    """A table like stability.correlations'."""
    rng, rows = np.random.default_rng(1), []
    for k, a in enumerate(years):
        for b in years[k + 1 :]:
            for way in WAYS:
                r = rng.uniform(0.2, 0.9)
                rows.append((a, b, way, r, r - 0.2, min(r + 0.15, 0.99), r + 0.03, 80))
    columns = ["cohort", "other", "way", "correlation", "lower", "upper", "expected", "schools"]
    return pd.DataFrame(rows, columns=columns)


def matrix(years=YEARS) -> pd.DataFrame:
    values = np.array([[1, 0.82, -0.61, np.nan], [0.82, 1, 0.8, 0.73], [-0.61, 0.8, 1, 0.93], [np.nan, 0.73, 0.93, 1]])
    return pd.DataFrame(values[: len(years), : len(years)], index=years, columns=years)


def quintiles() -> pd.DataFrame:
    share = (
        np.array(
            [[50, 25, 15, 8, 2], [24, 28, 24, 16, 8], [15, 24, 25, 22, 14], [8, 16, 22, 28, 26], [3, 7, 14, 26, 50]]
        )
        / 100
    )
    index = [(a + 1, b + 1) for a in range(5) for b in range(5)]
    frame = pd.DataFrame(index, columns=["from", "to"]).assign(share=share.ravel())
    return frame.assign(lower=(frame["share"] - 0.09).clip(0), upper=frame["share"] + 0.1, plugin=frame["share"])


def changes(schools: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = rng.integers(8, 60, (schools, 2))
    n[:5, 1] = 3
    change, se = rng.normal(0, 16, schools), rng.uniform(5, 9, schools)
    names = [*HOSTILE, *(f"{i:05d}" for i in range(schools))][:schools]
    return pd.DataFrame(
        {
            "n_first": n[:, 0],
            "n_second": n[:, 1],
            "change": change,
            "se": se,
            "se_independent": se * 1.3,
            "lower": change - 1.96 * se,
            "upper": change + 1.96 * se,
            "p_up": stats.norm.cdf(change / se),
        },
        index=pd.Index(names, name="school"),
    )


def parts() -> pd.DataFrame:
    rows = [
        (year, part, value, value - 2.5, value + 2.5)
        for year, level, slope in zip(YEARS, (3.0, -6.0, -10.0, -14.0), (0.5, -1.0, 0.2, 1.5), strict=True)
        for part, value in (("level", level), ("slope", slope), ("total", level + slope))
    ]
    return pd.DataFrame(rows, columns=["cohort", "part", "shift", "lower", "upper"])


def movements() -> pd.DataFrame:
    shift = np.array([3.5, -7.0, -9.8, -12.5])
    return pd.DataFrame(
        {
            "cohort": YEARS,
            "change": shift + [1.0, -2.0, 0.5, 0.4],
            "intake": [1.0, -2.0, 0.5, 0.4],
            "shift": shift,
            "lower": shift - 2.5,
            "upper": shift + 2.5,
            "prior_part": [-0.5, 1.5, 3.6, np.nan],
        }
    )


FIGURES = {
    "ways by gap": lambda: plotting.correlation_ways(ways_table()),
    "ways of many cohorts": lambda: plotting.correlation_ways(ways_table([2015, 2016, 2017, 2019, 2021, 2024])),
    "ways of a pair": lambda: plotting.correlation_ways(ways_table(), pair=(2024, 2019)),
    "matrix": lambda: plotting.correlation_matrix(matrix(), matrix().abs() / 10),
    "matrix of two": lambda: plotting.correlation_matrix(matrix([2019, 2021])),
    "gap": lambda: plotting.correlation_by_gap(ways_table(), 0.8),
    "gap of a pair": lambda: plotting.correlation_by_gap(ways_table([2019, 2024])),
    "quintiles": lambda: plotting.quintile_transitions(quintiles(), first=2019, second=2024),
    "changes": lambda: plotting.change_in_va(changes(), HOSTILE[5], min_n=5),
    "parts": lambda: plotting.shift_split(parts()),
    "movements": lambda: plotting.mean_change(movements()),
    "movements without a prior": lambda: plotting.mean_change(movements().assign(prior_part=np.nan)),
    "attenuation": lambda: plotting.attenuation(attenuation_curves([0.3, 0.5, 0.7, 0.9]), at=0.8),
    "attenuation of one": lambda: plotting.attenuation(attenuation_curves([0.7])),
}


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_legible_and_whole_and_the_bytes_are_the_same(name):
    legible(FIGURES[name])
    assert png(FIGURES[name]()) == png(FIGURES[name]())


def test_the_figures_name_every_way_of_the_library_in_its_order():
    assert tuple(WAYS) == stability.WAYS


def test_a_pair_is_drawn_as_given_with_its_numbers_in_words():
    table = ways_table()
    fig = plotting.correlation_ways(table, pair=(2019, 2024), level=0.9)
    for row in table[(table.cohort == 2019) & (table.other == 2024)].itertuples():
        y = list(WAYS).index(row.way)
        np.testing.assert_allclose(segments(fig, f"interval {row.way}")[0], [[row.lower, y], [row.upper, y]])
        for gid, value in (("estimate", row.correlation), ("expected", row.expected)):
            np.testing.assert_allclose(by_gid(fig, f"{gid} {row.way}")[0].get_xydata(), [[value, y]])
        assert f"{number(row.correlation, 2)}  (expected {number(row.expected, 2)})" in texts(fig)
    assert "2019 and 2024" in texts(fig) and "90% interval" in note(fig) and "averaged" not in note(fig)
    assert "2019 and 2024" in texts(plotting.correlation_ways(ways_table([2019, 2024])))


def test_pairs_equally_far_apart_are_averaged_and_the_note_says_so():
    table = ways_table([2019, 2021, 2023])
    fig = plotting.correlation_ways(table)
    near = table[(table.other - table.cohort == 2) & (table.way == "eb")]
    two = by_gid(fig, "estimate eb")[0].get_xdata()[0]
    assert two == pytest.approx(near.correlation.mean())
    np.testing.assert_allclose(segments(fig, "interval eb")[0][:, 0], [near.lower.mean(), near.upper.mean()])
    assert {"2 years (2 pairs)", "4 years"} <= set(texts(fig))
    assert "limits and expected values of several pairs are averaged" in note(fig)
    assert "averaged" not in note(plotting.correlation_ways(ways_table([2019, 2020, 2023])))


def test_the_matrix_is_the_lower_triangle_shaded_by_size():
    fig = plotting.correlation_matrix(matrix(), matrix().abs() / 10)
    written = texts(fig)
    assert {"0.82", "−0.61", "0.80", "0.73", "0.93", "–", "(0.08)", "(0.06)"} <= set(written)
    assert "1.00" not in written and written.count("0.82") == 1
    assert "below zero in red" in note(fig) and "standard errors" in note(fig)
    cells = {tuple(np.round(p.get_xy().mean(axis=0)[:2])): p.get_facecolor()[:3] for p in fig.axes[0].patches}
    assert len(cells) == 6
    for (x, y), value, hue in (((0, 2), 0.82, BLUE), ((0, 1), -0.61, VERMILLION)):
        full = np.array([int(hue[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        share = DEEPEST * abs(value)
        found = next(c for (a, b), c in cells.items() if abs(a - x) < 0.3 and abs(b - y) < 0.3)
        np.testing.assert_allclose(found, 1 - share + share * full, atol=1e-6)


def test_correlations_by_gap_and_the_curve():
    table = ways_table()
    fig = plotting.correlation_by_gap(table, 0.8)
    model = table[table.way == "joint_model"]
    x, y = by_gid(fig, "estimate")[0].get_data()
    assert sorted(y) == pytest.approx(sorted(model.correlation))
    for a, b in zip(x, y, strict=True):
        row = model[np.isclose(model.correlation, b)].iloc[0]
        assert abs(a - (row.other - row.cohort)) < 0.5
    assert len(set(x)) == 6
    np.testing.assert_allclose(
        segments(fig, "interval")[:, :, 1],
        model.assign(gap=model.other - model.cohort).sort_values(["gap", "cohort"])[["lower", "upper"]],
    )
    gap, fitted = by_gid(fig, "curve")[0].get_data()
    np.testing.assert_allclose(fitted, 0.8**gap)
    assert r"$\rho^{\mathrm{gap}}$,  $\rho$ = 0.80" in texts(fig)
    curve = pd.DataFrame({"gap": [1, 5], "correlation": [0.8, 0.4], "lower": [0.7, 0.2], "upper": [0.9, 0.6]})
    fig = plotting.correlation_by_gap(model.drop(columns="way"), curve)
    np.testing.assert_array_equal(by_gid(fig, "curve")[0].get_ydata(), curve["correlation"])
    assert by_gid(fig, "band")[0].get_paths()[0].vertices[:, 1].min() == 0.2


def test_quintile_cells_stand_where_they_belong():
    fig = plotting.quintile_transitions(quintiles().sample(frac=1, random_state=1), first=2019, second=2024)
    at = {t.xy: t.get_text() for t in fig.axes[0].texts if "%" in t.get_text() and t.get_gid() != "note"}
    for row in quintiles().itertuples():
        start, end, share = row[1], row[2], row[3]
        assert at[(end - 1, start - 1)] == f"{100 * share:.0f}%"
    assert {"41 to 60", "0 to 12"} <= set(texts(fig))
    assert {"Fifth in 2019", "Fifth in 2024"} <= set(texts(fig)) and fig.axes[0].get_ylabel() == "Fifth in 2019"


def test_changes_in_order_with_both_intervals_and_counts():
    table = changes()
    fig = plotting.change_in_va(table, ["00001", HOSTILE[0]], level=0.9, min_n=5)
    kept = table[table["n_second"] >= 5].sort_values("change")
    drawn = segments(fig, "interval")
    drawn = drawn[np.argsort(drawn[:, 0, 0])]
    np.testing.assert_allclose(drawn[:, :, 1], kept[["lower", "upper"]])
    ticks = segments(fig, "independent")[:, 0, 1].reshape(2, -1)
    half = 1.6448536269514722 * kept["se_independent"].to_numpy()
    np.testing.assert_allclose(ticks, [kept["change"] - half, kept["change"] + half])
    off = int((abs(kept["change"]) > half).sum())
    below, above = int((kept["upper"] < 0).sum()), int((kept["lower"] > 0).sum())
    assert f"90% intervals: {below} below 0 (▼), {55 - below - above} across it (●), {above} above it" in note(fig)
    assert f"{off} would then lie off 0" in note(fig)
    assert "5 schools not shown: fewer than 5 students, or hiding one that has." in note(fig)
    words = " ".join(texts(fig))
    assert "00001: " in words and "St. Mary" not in words


def test_parts_of_the_shift_with_the_total_in_words():
    table = parts()
    fig = plotting.shift_split(table.sample(frac=1, random_state=2))
    for part in ("level", "slope", "total"):
        rows = table[table.part == part]
        np.testing.assert_array_equal(by_gid(fig, part)[0].get_ydata(), rows["shift"])
        np.testing.assert_array_equal(segments(fig, f"interval {part}")[:, :, 1], rows[["lower", "upper"]])
    assert {"+3.5", "−7.0", "−9.8", "−12.5"} <= set(texts(fig))


def test_a_change_of_the_mean_stands_beside_what_it_is_made_of():
    table = movements()
    fig = plotting.mean_change(table.sample(frac=1, random_state=2), level=0.9)
    for part in ("change", "intake", "shift", "prior_part"):
        np.testing.assert_array_equal(by_gid(fig, part)[0].get_ydata(), table[part])
    np.testing.assert_array_equal(segments(fig, "interval shift")[:, :, 1], table[["lower", "upper"]])
    assert {"+3.5", "−7.0", "−9.8", "−12.5"} <= set(texts(fig))
    assert "90% interval of the shift over schools" in note(fig)
    assert not by_gid(plotting.mean_change(table.assign(prior_part=np.nan)), "prior_part")


def test_attenuation_draws_ways_that_agree_as_one_line():
    curves = attenuation_curves([0.5, 0.7], [0.2, 0.5, 0.8])
    fig = plotting.attenuation(curves, at=0.8)
    for k, rho in enumerate((0.5, 0.7)):
        lines = {line.get_gid(): line.get_ydata() for line in fig.axes[k].lines if line.get_gid()}
        np.testing.assert_allclose(lines["EB predictions, Unshrunken, Reflated"], rho * np.array([0.2, 0.5, 0.8]))
        np.testing.assert_allclose(lines["Disattenuated, Joint model"], rho)
        assert len([g for g in lines if g != "at"]) == 3
    assert {"0.40", "0.59", "0.56", "0.80", "0.70", r"True $\rho$ = 0.70"} <= set(texts(fig))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plotting.correlation_ways(ways_table(), pair=(2019, 2030)), "no cohorts 2019 and 2030"),
        (lambda: plotting.correlation_ways(ways_table().drop(columns="expected")), "needs the column.* expected"),
        (lambda: plotting.correlation_matrix(matrix([2019])), "at least two cohorts"),
        (lambda: plotting.correlation_by_gap(ways_table().query("way == 'eb'")), "without rows"),
        (lambda: plotting.correlation_by_gap(ways_table(), pd.DataFrame({"gap": [1]})), "curve. needs .* correlation"),
        (lambda: plotting.quintile_transitions(quintiles().drop(columns="lower")), "needs the column.* lower"),
        (lambda: plotting.change_in_va(changes().drop(columns="n_first"), min_n=5), "min_n = 5. needs .* n_first"),
        (lambda: plotting.change_in_va(changes(), min_n=500), "every school has fewer than 500"),
        (lambda: plotting.shift_split(parts().iloc[:0]), "without rows"),
        (lambda: plotting.mean_change(movements().drop(columns="intake")), "needs the column.* intake"),
        (lambda: plotting.attenuation(pd.DataFrame({"rho": [0.5]})), "needs the column.* reliability, way, expected"),
    ],
)
def test_unusable_input_is_one_clear_sentence(draw, message):
    with pytest.raises(ValibError, match=message):
        draw()
