"""Marks in a PDF become its structure: paragraphs over two pages, floats between, heads repeated, links, artefacts."""

from __future__ import annotations

import json

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name
from test_print_layout import table

from valib.pages.build.structure import mark_formula, role
from valib.pages.build.tagging import tag

TREE = [
    {"role": "Document", "parent": 0},
    {"role": "P", "parent": 0},
    {"role": "Link", "parent": 1, "alt": "the figure"},
    {"role": "Figure", "parent": 0, "alt": "A dot (at 1)."},
    {"role": "Table", "parent": 0},
    {"role": "THead", "parent": 4},
    {"role": "TR", "parent": 5},
    {"role": "TH", "parent": 6},
    {"role": "P", "parent": 7},
    {"role": "TBody", "parent": 4},
    {"role": "TR", "parent": 9},
    {"role": "TD", "parent": 10},
    {"role": "P", "parent": 11},
    {"role": "TD", "parent": 10},
    {"role": "P", "parent": 0},
]
FIRST = "(rule) Tj /vt1 MP (See ) Tj /vt2 MP (fig) Tj /vt- MP (. Then) Tj /vta MP (page 1) Tj /vt- MP"
SECOND = (
    "/vta MP (head) Tj /vt- MP /vt3 MP (pic) Tj /vt- MP ( more.) Tj /vt- MP 1 0 0 rg "
    "/vt8 MP (N) Tj /vt- MP /vt12 MP (7) Tj"
)
THIRD = "/vt8 MP (N) Tj /vt- MP ( and 8) Tj /vt- MP"


def made(folder, *contents):
    """A PDF with these contents, a link on its first page, tagged by TREE."""
    path = folder / "a.pdf"
    with pikepdf.new() as pdf:
        for content in contents:
            page = pdf.add_blank_page()
            page.Contents = pdf.make_stream(content.encode())
        pdf.pages[0].Annots = Array([pdf.make_indirect(Dictionary(Type=Name.Annot, Subtype=Name.Link, VT=2))])
        pdf.docinfo["/Title"] = "Dots"
        pdf.save(path)
    (folder / "tree.json").write_text(json.dumps(TREE))
    tag(path, folder / "tree.json")
    return pikepdf.open(path)


def texts(page):
    """The texts of each marked piece of a page, by MCID, and those of artefacts, in order."""
    pieces, artefacts = {}, []
    for operands, operator in pikepdf.parse_content_stream(page):
        if str(operator) in ("BDC", "BMC"):
            into = pieces.setdefault(int(operands[1].MCID), []) if str(operator) == "BDC" else artefacts
        elif str(operator) == "Tj":
            into.append(str(operands[0]))
    return {number: "".join(piece) for number, piece in pieces.items()}, artefacts


def read(element, pages):
    """An element as (role, its texts and elements in order)."""
    kids = []
    for kid in element.get("/K", ()):
        if "/S" in kid:
            kids.append(read(kid, pages))
        else:
            number = next(k for k, page in enumerate(pages) if page.obj == kid.Pg)
            kids.append(texts(pages[number])[0][int(kid.MCID)] if "/MCID" in kid else str(kid.Obj.Contents))
    return str(element.S)[1:], kids


def test_marks_become_structure(tmp_path):
    with made(tmp_path, FIRST, SECOND, THIRD) as pdf:
        root = pdf.Root.StructTreeRoot
        link = ("Link", ["fig", "the figure"])
        head = ("THead", [("TR", [("TH", [("P", ["N"])])])])
        body = ("TBody", [("TR", [("TD", [("P", ["7", " and 8"])]), ("TD", [])])])
        paragraph = ("P", ["See ", link, ". Then", " more."])
        found = read(root.K, pdf.pages)
        assert found == ("Document", [paragraph, ("Figure", ["pic"]), ("Table", [head, body])])
        assert [texts(page)[1] for page in pdf.pages] == [["rule", "page 1"], ["head"], ["N"]]
        assert str(root.K.K[1].Alt) == "A dot (at 1)." and root.K.K[2].K[0].K[0].K[0].A.Scope == Name.Column
        assert pdf.Root.MarkInfo.Marked and "/VT" not in pdf.pages[0].Annots[0]
        with pdf.open_metadata() as about:
            assert about["dc:title"] == "Dots"


def test_what_a_page_or_a_link_belongs_to_can_be_looked_up(tmp_path):
    with made(tmp_path, FIRST, SECOND, THIRD) as pdf:
        numbers = list(pdf.Root.StructTreeRoot.ParentTree.Nums)
        parents = {int(key): parent for key, parent in zip(numbers[::2], numbers[1::2], strict=True)}
        for page in pdf.pages:
            for place, parent in enumerate(parents[int(page.obj.StructParents)]):
                assert any(
                    kid.get("/MCID") == place and kid.get("/Pg") == page.obj for kid in parent.K if "/S" not in kid
                )
        assert parents[int(pdf.pages[0].Annots[0].StructParent)].S == Name.Link


def test_an_element_that_does_not_end_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="the element 1 of the PDF does not end"):
        made(tmp_path, "/vt1 MP (See ) Tj")


@pytest.mark.parametrize(
    ("formula", "marked"),
    [
        (r"\begin{equation}\begin{split}a = b\end{split}\end{equation}", r"{split}OPENa = b\tagclose{}\end{split}"),
        (r"\begin{align*}\!\begin{aligned}a\\ b\\ \end{aligned}\end{align*}", r"OPENa\\ b\tagclose{}\\ \end{aligned}"),
        (r"\begin{align} x &= \begin{split} 1 \end{split} \end{align}", r"\end{split}\tagclose{} \end{align}"),
    ],
)
def test_a_formula_is_marked_within_what_holds_it_all(formula, marked):
    assert marked in mark_formula(formula, "OPEN")
    assert mark_formula(formula, "OPEN").replace("OPEN", "").replace(r"\tagclose{}", "") == formula


def test_a_cell_of_a_table_is_data_and_one_of_its_head_a_heading():
    assert {role(cell)[1] for cell in table(("1", "2")).findall() if role(cell)[1]} >= {
        "Table",
        "TBody",
        "TR",
        "TD",
        "P",
    }
