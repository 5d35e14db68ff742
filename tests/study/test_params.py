"""The study's parameters: defaults, overrides, and one plain sentence for each way to get them wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from valib.errors import ParamsError
from valib.records.datasets import bundle_root
from valib.study.params import Params, load, locate, parse_cohorts
from valib.sums.equating import Link, ScaleBreak


@pytest.fixture
def study(tmp_path):
    """Write a params file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "study.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_params_yml_and_the_defaults_are_one():
    file = yaml.safe_load((bundle_root() / "params.yml").read_text(encoding="utf-8"))
    assert file == Params().model_dump()
    assert list(file) == Params.names() and set(file) == set(Params.model_fields)


def test_a_file_may_give_only_what_differs(study):
    params = load(study("focal_cohorts: [2018]\nmethod: REML\n"))
    assert params == Params(focal_cohorts=[2018], method="REML")


def test_an_empty_file_is_the_demo_study(study):
    assert load(study("# nothing yet\n")) == Params()


def test_overrides_win_and_none_means_not_given(study):
    params = load(study("level: 0.9\nseed: 7\n"), level=0.8, seed=None)
    assert (params.level, params.seed) == (0.8, 7)


def test_an_override_replaces_a_value_that_is_wrong_in_the_file(study):
    assert load(study("level: 3\n"), level=0.8).level == 0.8


def test_the_working_directory_comes_before_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate() == bundle_root() / "params.yml"
    (tmp_path / "params.yml").write_text("title: Mine\n", encoding="utf-8")
    assert load().title == "Mine"


def test_data_is_relative_to_the_file_and_an_override_to_the_working_directory(tmp_path, monkeypatch):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.yml").write_text("data: records/my.csv\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load("study/study.yml").data == str(folder / "records" / "my.csv")
    assert load("study/study.yml", data="my.csv").data == str(tmp_path / "my.csv")
    assert load("study/study.yml", data="exam").data == "exam"


def test_read_records_applies_the_columns(study, tmp_path):
    (tmp_path / "r.csv").write_text("Pupil,Code,Sat,Y5,Y3\n1,007,2018,5,4\n2,007,2018,6,4.5\n", encoding="utf-8")
    columns = "{student: Pupil, school: Code, cohort: Sat, score: Y5, prior_score: Y3}"
    records = load(study(f"data: r.csv\ncolumns: {columns}")).read_records()
    assert records["school"].tolist() == ["007", "007"]
    assert records["prior_score"].tolist() == [4.0, 4.5]


def test_scale_breaks_are_read_as_the_library_takes_them(study):
    text = (
        "scale_breaks:\n  - {cohort: 2023, link: {slope: 2, intercept: -3.5, slope_se: 0.1}}\n"
        "  - {cohort: 2023, column: prior_score, link: null}\n"
    )
    params = load(study(text))
    assert params.scale_breaks == [ScaleBreak(2023, "score", Link(2.0, -3.5, 0.1)), ScaleBreak(2023, "prior_score")]
    assert load(study(yaml.safe_dump(params.model_dump()))) == params


WRONG = {
    "levle: 0.9": ["line 1", "there is no parameter levle", "level"],
    "seed: 1\nlevel: 1.5": ["line 2", "level is 1.5", "less than 1"],
    "level: 0": ["level is 0", "greater than 0"],
    "level: high": ["level is 'high'", "number"],
    "level: .nan": ["level is nan", "finite number"],
    "equating_se: -1": ["equating_se is -1", "greater than or equal to 0"],
    "method: MLE": ["method is 'MLE'", "'ML' or 'REML'"],
    "estimator: lm": ["estimator is 'lm'", "'mixed', 'ols' or 'within'"],
    "shift: no": ["shift is False", "'estimated' or 'absorbed'"],
    "variances: pooled": ["variances is 'pooled'", "'focal' or 'baseline'"],
    "reliability: {prior_score: 0}": ["reliability is", "above 0 and not above 1, but that of prior_score is 0"],
    "reliability: {prior_score: se}": ["reliability is", "{se: column} with standard errors", "prior_score is 'se'"],
    "reliability: 0.9": ["reliability is 0.9", "expected a mapping"],
    "reliability: {prior_score: {sd: a}}": ["reliability is", "{se: column} with standard errors"],
    "reliability: {prior_score: {se: ''}}": ["reliability is", "{se: column} with standard errors"],
    "scale_breaks: 2023": ["scale_breaks[0] is 2023", "a mapping such as {cohort: 2023"],
    "scale_breaks: [2023]": ["scale_breaks[0] is 2023", "a mapping such as {cohort: 2023"],
    "scale_breaks: [{column: score}]": ["scale_breaks[0] lacks its cohort"],
    "scale_breaks: [{cohort: soon}]": ["scale_breaks[0].cohort is 'soon', expected a whole number."],
    "scale_breaks: [{cohort: 2023, colum: score}]": ["scale_breaks[0] has no colum (it has cohort, column, link)"],
    "scale_breaks: [{cohort: 2023, column: grade}]": ["scale_breaks[0]", "concerns score or prior_score, not 'grade'"],
    "scale_breaks: [{cohort: 2023, link: 1.1}]": ["scale_breaks[0].link is 1.1", "{slope: 1.0, intercept: 0.0}"],
    "scale_breaks: [{cohort: 2023, link: {slop: 1}}]": ["scale_breaks[0].link has no slop (it has slope, intercept"],
    "scale_breaks: [{cohort: 2023, link: {slope: -1}}]": ["scale_breaks[0].link is {'slope': -1}: a link needs"],
    "scale_breaks: [{cohort: 2023, link: {slope: .nan}}]": ["a link needs a positive slope"],
    "scale_breaks: [{cohort: 2023, link: {intercept: x}}]": ["scale_breaks[0].link.intercept is 'x'", "number"],
    "scale_breaks: [{cohort: 2023, link: {covariance: 1}}]": ["covariance is larger than its two standard errors"],
    "seed: 1\nscale_breaks: [{cohort: 2023}, {cohort: 2023, column: score}]": [
        "line 2",
        "each entry once, but score with cohort 2023 stands there more than once",
    ],
    "min_students: 0": ["min_students is 0", "greater than or equal to 1"],
    "min_students: 2.5": ["min_students is 2.5", "a whole number"],
    "min_linked_share: 1.2": ["min_linked_share is 1.2", "less than or equal to 1"],
    "fdr: 0": ["fdr is 0", "greater than 0"],
    "seed: true": ["seed is True", "a whole number"],
    "bootstrap_replicates: 1": ["bootstrap_replicates is 1", "greater than or equal to 2"],
    "baseline_cohorts: []": ["baseline_cohorts is []", "one cohort or more"],
    "focal_cohorts:": ["focal_cohorts is empty", "list"],
    "focal_cohorts: [2019, 'x']": ["focal_cohorts[1] is 'x'", "a whole number"],
    "focal_cohorts: [2019, 2021, 2019]": ["focal_cohorts is [2019, 2021, 2019]", "2019", "more than once"],
    "focal_cohorts: [2016, 2019]": ["study.yml, line 1: ", "both hold 2016", "cannot be its own benchmark"],
    "formula: prior_score": ["formula is 'prior_score'", "'score ~ prior_score'"],
    "formula: 'score ~ (prior_score'": ["formula is 'score ~ (prior_score'", "'score ~ prior_score'"],
    "formula: 'growth ~ prior_score'": ["score, or arithmetic with it, on the left"],
    "formula: 'log(prior_score) ~ female'": ["score, or arithmetic with it, on the left"],
    "formula: 'score ~ prior_score - 400'": ["'prior_score - 400'", "write I(prior_score - 400)"],
    "formula: 'score - prior_score ~ I(score + 1)'": ["without score on the right"],
    "formula: 'score ~ score + prior_score'": ["without score on the right"],
    "further_formulas: ['score ~ prior_score', 'y ~ x']": ["further_formulas[1] is 'y ~ x'", "on the left of ~"],
    "school: 00417": ["school is 271", "text (put it in quotes)"],
    "title: ''": ["title is ''", "some text"],
    "data: 3": ["data is 3", "text"],
    "columns: [school]": ["columns is ['school']", "mapping such as {school: SchoolCode}"],
    "columns: {school: 3}": ["columns.school is 3", "text"],
    "seed: 1\nseed: 2": ["line 2", "seed is given a second time"],
    "seed: [1": ["study.yml, line", "not YAML"],
    "- seed": ["expected one 'name: value' a line", "list"],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_one_sentence_that_names_it(study, text):
    path = study(text)
    with pytest.raises(ParamsError) as caught:
        load(path)
    said = str(caught.value)
    assert str(path) in said
    for part in WRONG[text]:
        assert part in said
    assert "\n" not in said and said.endswith(".") and "pydantic" not in said


def test_two_faults_are_both_told(study):
    with pytest.raises(ParamsError, match=r"study.yml, line 1: level is 2.*; line 2: method is 'X'.*\.$"):
        load(study("level: 2\nmethod: X\n"))


def test_a_wrong_override_does_not_blame_the_file(study):
    path = study("level: 0.9\n")
    with pytest.raises(ParamsError) as caught:
        load(path, level=1.5)
    assert str(caught.value).startswith("level is 1.5, expected ")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ParamsError, match="There is no params file .*none.yml"):
        load(tmp_path / "none.yml")
    with pytest.raises(ParamsError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.yml").write_bytes(b"title: caf\xe9\n")
    with pytest.raises(ParamsError, match="cannot be read: it is not UTF-8 text"):
        load(tmp_path / "latin.yml")


def test_cohort_lists_of_the_command_line():
    assert parse_cohorts("2015, 2016,2017", "--baseline-cohorts") == [2015, 2016, 2017]
    assert parse_cohorts(None, "--baseline-cohorts") is None
    for text in ("", "2015;2016", "2015,", "2015-2017"):
        with pytest.raises(ParamsError, match="^--baseline-cohorts is .* expected cohorts such as 2015,2016,2017"):
            parse_cohorts(text, "--baseline-cohorts")
    with pytest.raises(ParamsError, match="--cohorts is '2015,2015', expected each cohort once"):
        parse_cohorts("2015,2015", "--cohorts")


SAME = {
    "focal_cohorts": ([2024], [2024, "2024", "[2024]", " [ '2024' ]", ["2024"], (2024,)]),
    "baseline_cohorts": ([2015, 2016], ["2015,2016", "[2015, 2016]", (2015, 2016), range(2015, 2017)]),
    "columns": ({"school": "Code"}, ["{school: Code}", '{"school": "Code"}', "{'school': 'Code'}"]),
    "reshape": (
        {"cohort": [2021], "columns": {"score": "read_{cohort}"}},
        [
            "{cohort: [2021], columns: {score: 'read_{cohort}'}}",
            '{"cohort": [2021], "columns": {"score": "read_{cohort}"}}',
        ],
    ),
    "further_formulas": (["score ~ 1"], ["score ~ 1", "['score ~ 1']", ("score ~ 1",)]),
    "scale_breaks": (
        [ScaleBreak(2023)],
        ["[{cohort: 2023, link: null}]", "[{'cohort': 2023, 'link': None}]", {"cohort": 2023}],
    ),
    "level": (0.9, [0.9, "0.9", " .9 ", "9e-1"]),
    "equating_se": (2.0, [2, "2", "2.0"]),
    "year_zero": (2000.5, [2000.5, "2000.5"]),
    "cohort_sd": (2.0, [2, "2", "2.0"]),
    "intervals": ("plugin", ["plugin"]),
    "min_students": (7, [7, "7"]),
    "min_linked_share": (0.6, [0.6, "0.6", " .6 "]),
    "fdr": (0.1, [0.1, "0.1", ".1"]),
    "groups": ("district", ["district"]),
    "group_weights": ("students", ["students"]),
    "min_schools": (4, [4, "4"]),
    "similar": (["prior_score", "ses"], [["prior_score", "ses"], "[prior_score, ses]", ("prior_score", "ses")]),
    "neighbours": (4, [4, "4"]),
    "cap": (3.0, [3, "3", "3.0"]),
    "seed": (8, ["8", "08"]),
    "bootstrap_replicates": (30, ["30"]),
    "simulation_replicates": (30, ["30"]),
    "reliability": (
        {"prior_score": 0.9},
        [
            {"prior_score": 0.9},
            "prior_score=0.9",
            " prior_score = .9 ",
            "{prior_score: 0.9}",
            '{"prior_score": 0.9}',
            "{'prior_score': 0.9}",
        ],
    ),
    "random": (["prior_score"], ["prior_score", "[prior_score]", "['prior_score']", ("prior_score",)]),
    "residual": ("by_school", ["by_school"]),
    "subgroups": (["female", "ses"], ["[female, ses]", "['female', 'ses']", ("female", "ses")]),
    "quantiles": ([0.5], [[0.5], "[0.5]", "0.5", 0.5]),
    "quantile_draws": (60, ["60"]),
    "school": (None, ["null", "None", "~"]),
    "table": (None, ["null", "None"]),
    "where": (None, ["null", "None"]),
    "prior": (
        {"years_before": 1, "match": ["subject"]},
        [
            "years_before=1,match=subject",
            "{years_before: 1, match: [subject]}",
            "{'years_before': 1, 'match': ['subject']}",
        ],
    ),
    "pseudonym_key": (None, ["null", "None"]),
    "title": ("2024", ["2024"]),
    "excel": (True, [True, "true"]),
    "figures": (False, [False, "false"]),
    "decimal": (",", [","]),
    "byte_order_mark": (True, [True, "true"]),
    "data": ("demo", ["demo"]),
    "formula": ("score ~ 1", ["score ~ 1"]),
    "method": ("REML", ["REML"]),
    "estimator": ("ols", ["ols"]),
    "shift": ("absorbed", ["absorbed"]),
    "variances": ("baseline", ["baseline"]),
}


def test_a_parameter_means_the_same_however_it_is_written():
    assert set(SAME) == set(Params.model_fields)
    for name, (meant, ways) in SAME.items():
        for way in ways:
            assert getattr(load(None, **{name: way}), name) == meant, (name, way)
            assert getattr(Params(**{name: way}), name) == meant, (name, way)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("focal_cohorts", "[2024"),
        ("focal_cohorts", "2019-2021"),
        ("focal_cohorts", True),
        ("focal_cohorts", 2024.5),
        ("columns", "{school: "),
        ("columns", "[1]"),
        ("scale_breaks", "{cohort: soon}"),
        ("level", "95%"),
        ("seed", "1.5"),
        ("seed", "9" * 5000),
        ("school", 563),
        ("method", "None"),
    ],
)
def test_what_cannot_be_read_surely_is_refused_in_one_sentence(name, value):
    with pytest.raises(ParamsError) as caught:
        load(None, **{name: value})
    said = str(caught.value)
    assert said.startswith(name) and said.endswith(".") and "\n" not in said and len(said) < 400


def test_a_column_of_standard_errors_is_named_alike_everywhere():
    meant = {"prior_score": {"se": "prior_se"}, "ses": 0.8}
    for way in (meant, "prior_score=se:prior_se,ses=0.8", "{prior_score: {se: prior_se}, ses: .8}"):
        assert load(None, reliability=way).reliability == meant


def test_the_value_in_force_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Params().level = 0.5


def test_no_cohort_of_the_demo_in_a_study_of_other_data(tmp_path):
    """Of one's own data no cohort is a baseline that is not named, and the focal ones are all others in the records."""
    own = load(None, data=str(tmp_path / "my.csv"))
    assert own.baseline_cohorts == own.focal_cohorts == []
    assert own.settled([2031, 2032]).focal_cohorts == [2031, 2032]
    with pytest.raises(ParamsError, match="names no baseline cohorts.*records hold cohorts 2031, 2032"):
        own.need_baseline([2032, 2031])
    named = load(None, data=str(tmp_path / "my.csv"), baseline_cohorts=[2031])
    assert named.settled([2031, 2032, 2034]).focal_cohorts == [2032, 2034]
    named.need_baseline([2031])
    with pytest.raises(ParamsError, match="hold cohort 2031 only"):
        named.settled([2031])
    assert load(None).baseline_cohorts and load(None).settled([1]) == load(None)
    (tmp_path / "params.yml").write_text("data: my.csv\nfocal_cohorts: [2021]\n")
    file = load(tmp_path / "params.yml")
    assert (file.baseline_cohorts, file.focal_cohorts) == ([], [2021])
    (tmp_path / "cohorts.yml").write_text("baseline_cohorts: [2016]\nfocal_cohorts: [2021]\n")
    both = load(tmp_path / "cohorts.yml", data=str(tmp_path / "my.csv"))
    assert (both.baseline_cohorts, both.focal_cohorts) == ([2016], [2021])
