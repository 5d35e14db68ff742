"""A tagged PDF: the elements that :mod:`valib.pages.build.structure` has marked become the PDF's own structure.

What no mark encloses (rules, bullets, heads and feet of pages) becomes an artefact, which no reader reads out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name

MARK = re.compile(rb"/vt(\d+|a|-)\s+MP\s*")
PAINTS = re.compile(rb"[\s\])>](?:TJ|Tj|Do|S|s|f|f\*|B|b|sh)\s")
ARTEFACT = 0  # the number of what `\tagopen{a}` encloses
LINK = "/VT"  # an annotation's own key: the number of its element


class Structure:
    """The structure of a PDF while it is being made: ``tree`` as StructuredTranslator writes it."""

    def __init__(self, pdf: pikepdf.Pdf, tree: list[dict[str, Any]]) -> None:
        self.pdf, self.tree = pdf, dict(enumerate(tree))
        self.objects: dict[int, Any] = {}  # of the elements that are used, by number
        self.kids: dict[int, list[Any]] = {}  # contents (Dictionary) and elements (numbers)
        self.parents: list[Any] = []  # by key of the parent tree
        self.first: dict[int, int] = {}  # page of what stands in the head of a table
        self.open: list[int] = []  # the elements that are open, innermost last
        self.heads: set[int] = set()  # the elements of the heads of tables
        for number, element in self.tree.items():
            if element["role"] == "THead" or element["parent"] in self.heads:
                self.heads.add(number)

    def use(self, number: int) -> Any:
        """The object of an element, which hangs in the tree from now on."""
        if number not in self.objects:
            element = self.tree[number]
            made = Dictionary(Type=Name.StructElem, S=Name(f"/{element['role']}"))
            if element.get("alt") and element["role"] != "Link":
                made.Alt = element["alt"]
            if element["role"] == "TH":
                made.A = Dictionary(O=Name.Table, Scope=Name.Column)
            if "numbering" in element:
                made.A = Dictionary(O=Name.List, ListNumbering=Name(f"/{element['numbering']}"))
            self.objects[number], self.kids[number] = self.pdf.make_indirect(made), []
            if number:
                made_parent = self.use(element["parent"])
                self.objects[number].P = made_parent
                self.kids[element["parent"]].append(number)
        return self.objects[number]

    def page(self, page: pikepdf.Page) -> None:
        """Mark the content of a page and the links on it."""
        page.contents_coalesce()
        on_page: list[Any] = []
        written = []
        for place, piece in enumerate(MARK.split(page.Contents.read_bytes())):
            if place % 2:
                self.step(piece)
            elif not PAINTS.search(b" " + piece + b" "):
                written.append(piece)
            else:
                written += [self.begin(page, on_page), piece, b"\nEMC\n"]
        page.obj.Contents = self.pdf.make_stream(b"".join(written))
        page.obj.StructParents = self.key(Array(on_page))
        page.obj.Tabs = Name.S
        for link in page.obj.get("/Annots", ()):
            if LINK in link:
                self.link(page, link)

    def step(self, mark: bytes) -> None:
        """Go into an element or out of the innermost one."""
        if mark == b"-":
            self.open.pop()
        elif mark == b"a":
            self.open.append(ARTEFACT)
        else:  # an entry of the contents is not known before
            self.tree.setdefault(int(mark), {"role": "TOCI", "parent": self.open[-1] if self.open else 0})
            self.open.append(int(mark))

    def begin(self, page: pikepdf.Page, on_page: list[Any]) -> bytes:
        """What begins a piece of the innermost element; a table's head on its second page is an artefact."""
        number = self.open[-1] if self.open else ARTEFACT
        if number == ARTEFACT or (
            number in self.heads and self.first.setdefault(number, len(self.parents)) != len(self.parents)
        ):
            return b"/Artifact BMC\n"
        on_page.append(self.use(number))
        self.kids[number].append(Dictionary(Type=Name.MCR, Pg=page.obj, MCID=len(on_page) - 1))
        return b"/%s <</MCID %d>> BDC\n" % (self.tree[number]["role"].encode(), len(on_page) - 1)

    def link(self, page: pikepdf.Page, link: Any) -> None:
        """Hang a link on its element; one in the contents gets an element of its own."""
        number = int(link[LINK])
        del link[LINK]
        if self.tree[number]["role"] != "Link":
            self.tree[-len(self.parents)] = {"role": "Link", "parent": number}
            number = -len(self.parents)
        made = self.use(number)
        link.Contents = self.tree[number].get("alt") or "Go to this place"
        link.StructParent = self.key(made)
        self.kids[number].append(Dictionary(Type=Name.OBJR, Pg=page.obj, Obj=link))

    def key(self, parent: Any) -> int:
        """The key of an entry of the parent tree."""
        self.parents.append(parent)
        return len(self.parents) - 1

    def finish(self) -> None:
        """Hang all on the document."""
        if self.open:
            raise ValueError(f"the element {self.open[-1]} of the PDF does not end")
        for number, element in self.tree.items():  # empty cells, too, or their row would be short
            if element["role"] in ("TD", "TH") and element["parent"] in self.objects:
                self.use(number)
        for number, kids in self.kids.items():
            if all(isinstance(kid, int) for kid in kids):  # as in the sources, wherever floats have gone
                kids = sorted(kids)
            self.objects[number].K = Array([self.objects[kid] if isinstance(kid, int) else kid for kid in kids])
        numbers = [one for pair in enumerate(self.parents) for one in pair]
        root = Dictionary(Type=Name.StructTreeRoot, K=self.use(0), ParentTreeNextKey=len(self.parents))
        root.ParentTree = self.pdf.make_indirect(Dictionary(Nums=Array(numbers)))
        self.pdf.Root.StructTreeRoot = self.pdf.make_indirect(root)
        self.use(0).P = self.pdf.Root.StructTreeRoot
        self.pdf.Root.MarkInfo = Dictionary(Marked=True)
        self.pdf.Root.Lang = "en-GB"
        self.pdf.Root.ViewerPreferences = Dictionary(DisplayDocTitle=True)


def tag(file: Path, structure: Path) -> None:
    """Tag a PDF in place; give its title and author as XMP, too."""
    with pikepdf.open(file, allow_overwriting_input=True) as pdf:
        made = Structure(pdf, json.loads(structure.read_text(encoding="utf-8")))
        for page in pdf.pages:
            made.page(page)
        made.finish()
        with pdf.open_metadata(set_pikepdf_as_editor=False) as metadata:
            metadata.load_from_docinfo(pdf.docinfo)
        pdf.save(file, min_version="1.7", object_stream_mode=pikepdf.ObjectStreamMode.generate)
