"""Sentences about a school say what its intervals allow, and no more: every case with intervals made by hand."""

from __future__ import annotations

import itertools
import math
import re

import pytest

from valib.pages.report import words
from valib.pages.report.words import Estimate, Place

NAN = math.nan
CASES = {  # name: value, lower, upper, side of zero
    "well above": (8.1, 2.3, 13.9, "above"),
    "well below": (-8.1, -13.9, -2.3, "below"),
    "barely above": (5.0, 0.004, 9.996, "above"),
    "barely below": (-5.0, -9.996, -0.004, "below"),
    "touches from above": (5.0, 0.0, 10.0, "unclear"),
    "touches from below": (-5.0, -10.0, 0.0, "unclear"),
    "high, across": (9.0, -0.5, 18.5, "unclear"),
    "low, across": (-9.0, -18.5, 0.5, "unclear"),
    "zero": (0.0, -3.0, 3.0, "unclear"),
    "no spread at all": (0.0, 0.0, 0.0, "unclear"),
    "no value": (NAN, -1.0, 1.0, "missing"),
    "no lower": (1.0, NAN, 2.0, "missing"),
    "no upper": (1.0, 0.5, NAN, "missing"),
    "nothing": (NAN, NAN, NAN, "missing"),
    "endless": (1.0, -math.inf, math.inf, "missing"),
}
CLAIMS = re.compile(r"\*\*(above|below|rose|fell)\b")


def case(name: str) -> Estimate:
    return Estimate(*CASES[name][:3])


@pytest.mark.parametrize("name", CASES)
def test_the_side_is_that_of_the_whole_interval(name):
    assert case(name).side == CASES[name][3]


SENTENCES = {
    "relative": lambda e, singular: words.relative(2024, e, 0.95, 1, singular),
    "benchmark": lambda e, singular: words.benchmark(2024, e, [2016, 2015], 0.95, 1, singular),
    "change": lambda e, singular: words.change(2019, 2024, e, 0.95, 1),
}
WORDS = {
    "relative": {"above": "above", "below": "below"},
    "benchmark": {"above": "above", "below": "below"},
    "change": {"above": "rose", "below": "fell"},
}
GRID = list(itertools.product(SENTENCES, CASES, (False, True)))


@pytest.mark.parametrize(("kind", "name", "singular"), GRID)
def test_a_sentence_claims_a_side_only_if_the_interval_has_one(kind, name, singular):
    text, side = SENTENCES[kind](case(name), singular), CASES[name][3]
    claims = CLAIMS.findall(text)
    said_of_school = not (kind == "relative" and singular)
    assert claims == ([WORDS[kind][side]] if side in ("above", "below") and said_of_school else [])
    assert ("holds zero" in text) == (side == "unclear" and said_of_school)
    if side == "missing":
        assert not re.search(r"\d\.\d|interval", text)
    elif said_of_school:
        assert "score points, with a 95% interval from " in text


def test_the_grid_is_whole():
    assert len(GRID) == 3 * 15 * 2


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][3] != "missing"])
def test_a_singular_fit_says_nothing_of_the_school(name):
    own, against = (SENTENCES[kind](case(name), True) for kind in ("relative", "benchmark"))
    assert own == (
        "In 2024 the differences between schools are no larger than chance among students would make them, "
        "so nothing can be said about a single school."
    )
    assert "nothing can be said about a single school; for all schools together" in against


def test_sentences_in_full():
    assert words.relative(2024, case("well above"), 0.95, 1) == (
        "In 2024 the school's value added is **above the average** of the schools of that year: +8.1 score points, "
        "with a 95% interval from 2.3 to 13.9."
    )
    assert words.benchmark(2024, case("low, across"), [2016, 2015], 0.9, 1) == (
        "In 2024 the school's value added is **not distinguishable from what was typical in 2015 and 2016**: "
        "\N{MINUS SIGN}9.0 score points, with a 90% interval from \N{MINUS SIGN}18.5 to 0.5, which holds zero."
    )
    assert words.change(2019, 2024, case("well below"), 0.95, 1) == (
        "From 2019 to 2024 its value added, compared with the average of each year, **fell**: \N{MINUS SIGN}8.1 score "
        "points, with a 95% interval from \N{MINUS SIGN}13.9 to \N{MINUS SIGN}2.3."
    )
    assert words.change(2019, 2024, case("nothing"), 0.95, 1) == (
        "Whether the school's standing changed from 2019 to 2024 cannot be said."
    )


def test_what_is_not_shown_to_differ_is_not_said_to_be_equal():
    assert "not evidence that nothing changed" in words.change(2019, 2024, case("zero"), 0.95, 1)


@pytest.mark.parametrize(
    ("lower", "upper", "shown"),
    [
        (0.004, 9.996, "0.004 to 10.0"),
        (0.0000001, 1.0, "0.000000 to 1.0"),
        (-2.0, -0.04, "\N{MINUS SIGN}2.0 to \N{MINUS SIGN}0.04"),
        (0.0, 5.0, "0.0 to 5.0"),
    ],
)
def test_a_bound_beside_zero_is_not_rounded_onto_it(lower, upper, shown):
    assert words.interval(Estimate(0.0, lower, upper), 1) == shown


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("well above", "were higher than in the baseline"),
        ("well below", "were lower than in the baseline"),
        ("zero", "not distinguishable from those of the baseline"),
    ],
)
def test_what_is_common_to_all_schools(name, part):
    assert part in words.system(2024, case(name), 0.95, 1)


def test_what_is_common_names_its_interval_and_what_is_not_in_it():
    plain = words.system(2024, case("well below"), 0.95, 1)
    by = words.system(2024, case("well below"), 0.95, 1, "a further ordinary year", equated=False)
    assert "that of a further ordinary year; how far the tests of the two times are on one scale is not known" in by
    assert by.replace(words.BY["a further ordinary year"] + words.WITHOUT_EQUATING, "") == plain
    assert ", over schools)" in words.system(2024, case("well below"), 0.95, 1, "schools")


def test_an_absorbed_shift_is_not_mentioned():
    assert words.system(2024, case("nothing"), 0.95, 1) == ""


PLACES = {  # lower, upper, p_top, p_bottom -> words
    (20, 75, 0.213, 0.0): ("between the **20th and the 75th of 198 places**", "21%", "less than 1%"),
    (1, 3, 0.9985, 0.0): ("between the **1st and the 3rd of 198 places**", "more than 99%", "less than 1%"),
    (112, 198, 0.005, 0.0121): ("between the **112th and the 198th of 198 places**", "less than 1%", "1%"),
    (1, 1, 1.0, 0.0): ("the **1st of 198 places**", "more than 99%", "less than 1%"),
    (22, 121, 0.5, 0.25): ("between the **22nd and the 121st of 198 places**", "50%", "25%"),
}


@pytest.mark.parametrize("numbers", PLACES)
def test_a_place_comes_with_its_interval(numbers):
    lower, upper, p_top, p_bottom = numbers
    text = words.position(2024, Place(45.0, lower, upper, p_top, p_bottom, 198), 0.95)
    where, top, bottom = PLACES[numbers]
    assert where in text and "(95% interval; 1st is the highest value added)" in text
    assert f"highest fifth is {top}, to the lowest fifth {bottom}." in text


@pytest.mark.parametrize(
    ("own", "against", "parts"),
    [
        ([], [], []),
        ([2031, 2030], [], ["In 2030 and 2031 the differences", "no figure of a single school"]),
        ([2031], [2031], ["In 2031 the differences", "the figure for 2031 is that of all schools together"]),
        ([], [2031], ["the figure for 2031 is that of all schools together"]),
    ],
)
def test_years_whose_schools_are_alike_are_named(own, against, parts):
    text = words.alike(own, against)
    assert all(part in text for part in parts) and bool(text) == bool(parts)
    assert ("comparison with the year" in text) == bool(own)


def test_chances_in_a_table_are_short():
    assert [words.chance(p, short=True) for p in (0.0, 0.01, 0.5, 0.999)] == ["< 1%", "1%", "50%", "> 99%"]


@pytest.mark.parametrize("missing", range(5))
def test_no_place_without_all_of_it(missing):
    values = [45.0, 20.0, 75.0, 0.2, 0.1]
    values[missing] = NAN
    assert words.position(2024, Place(*values, 198), 0.95) == "In 2024 no place among the schools can be given."


def test_a_singular_fit_has_no_places():
    text = words.position(2024, Place(99.5, 6, 194, 0.2, 0.2, 198), 0.95, singular=True)
    assert "no place among the schools can be given" in text and "6th" not in text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (111, "111th"),
        (1002, "1,002nd"),
    ],
)
def test_ordinals(number, text):
    assert words.ordinal(number) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), ""),
        (("well above",), ""),
        (("well above", "nothing"), ""),
        (
            ("well above", "barely above"),
            "Over the 2 years with such a figure, it was above the average of the year in all 2.",
        ),
        (
            ("well above", "well below"),
            "Over the 2 years with such a figure, it was above the average of the year in 2001 "
            "and below the average of the year in 2002.",
        ),
        (
            ("zero", "high, across", "low, across"),
            "In none of the 3 years can it be distinguished from the average of the year.",
        ),
        (
            ("zero", "well below", "nothing", "zero"),
            "Over the 3 years with such a figure, it was below the average of the "
            "year in 2002; in 2001 and 2004 it cannot be distinguished from it.",
        ),
    ],
)
def test_the_years_together(names, text):
    assert words.years({2001 + k: case(name) for k, name in enumerate(names)}) == text


def test_the_years_together_against_the_baseline():
    told = {2001: case("well above"), 2002: case("zero"), 2003: case("well above")}
    assert words.years(told, [2003], words.THE_BASELINE) == (
        "Over the 2 years with such a figure, it was above what was typical of the baseline in 2001; in 2002 it cannot "
        "be distinguished from it."
    )


def test_what_is_common_is_claimed_only_if_it_can_be_told():
    texts = {name: words.system(2024, case(name), 0.95, 1) for name in CASES}
    claimed = {name: bool(re.search("were (higher|lower) than", text)) for name, text in texts.items()}
    assert claimed == {name: CASES[name][3] in ("above", "below") for name in CASES}
    assert not any("part of this" in text.lower() for text in texts.values()), "the school may have gone the other way"


def test_a_singular_year_does_not_count():
    told = {2001: case("well above"), 2002: case("well above"), 2003: case("zero")}
    assert "2 years" in words.years(told, singular=[2003])


@pytest.mark.parametrize(
    ("held_back", "absent", "parts"),
    [
        ([], [], []),
        ([2017, 2016], [], ["No figure is shown for 2016 and 2017", "fewer than 5 students"]),
        ([], [2019], ["no student of this school in 2019"]),
        ([2016], [2019], ["No figure is shown for 2016", "no student of this school in 2019"]),
    ],
)
def test_gaps(held_back, absent, parts):
    text = words.gaps(held_back, absent, 5)
    assert all(part in text for part in parts) and bool(text) == bool(parts)


def test_a_change_from_separate_years_says_what_it_is_and_why():
    assert len(words.WHY_NOT_JOINT) == 3
    for why, reason in words.WHY_NOT_JOINT.items():
        text = words.apart(why)
        assert reason in text and "difference of the figures of two years" in text
        assert "too wide rather than too narrow" in text


@pytest.mark.parametrize(("singular", "named"), [([2019], "in 2019 the"), ([2024, 2019, 2016], "in 2019 and 2024 the")])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_said_of_a_change_from_or_to_a_year_whose_schools_are_alike(name, singular, named):
    text = words.change(2019, 2024, case(name), 0.95, 1, singular)
    assert named in text and "cannot be said" in text and "no larger than chance" in text
    assert not CLAIMS.search(text) and not re.search(r"\d\.\d", text)


@pytest.mark.parametrize(
    ("level", "years", "parts"),
    [
        (0.95, 1, ["up to 5 in a hundred", "so a single year"]),
        (0.95, 0, ["up to 5 in a hundred", "so a single year"]),
        (0.95, 7, ["up to 5 in a hundred", "one or more of 7 years up to 31"]),  # 1 - 0.95^7 = 0.3017
        (0.9, 2, ["up to 10 in a hundred", "one or more of 2 years up to 19"]),
        (0.995, 1, ["up to 0.5 in a hundred"]),
    ],
)
def test_how_often_chance_alone_calls_a_school(level, years, parts):
    text = words.by_chance(level, years)
    assert all(part in text for part in parts) and "weak sign" in text


@pytest.mark.parametrize(
    ("above", "text"),
    [
        ((0.07, 0.8), "above **between 7% and 80% of the schools** of 2015 and 2016 (95% interval)."),
        ((0.001, 0.5), "above **between less than 1% and 50% of the schools**"),
        ((0.9951, 0.9999), "above **more than 99% of the schools**"),
        ((math.nan, 0.5), ""),
        ((0.1, math.nan), ""),
    ],
)
def test_the_standing_among_the_schools_of_the_baseline(above, text):
    said = words.standing(2024, above, [2016, 2015], 0.95)
    assert text in said and bool(said) == bool(text)


@pytest.mark.parametrize(("level", "text"), [(0.95, "95%"), (0.995, "99.5%"), (0.9, "90%"), (1 - 1e-3, "99.9%")])
def test_levels(level, text):
    assert words.percent(level) == text
