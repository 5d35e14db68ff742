"""Workbooks written by hand: .xlsx and .ods, with texts, numbers and days."""

import datetime
import zipfile
from xml.sax.saxutils import escape


def cell_xlsx(column, row, value):
    place = f'r="{chr(65 + column)}{row}"'
    if value is None:
        return ""
    if isinstance(value, datetime.date):
        return f'<c {place} s="1"><v>{(value - datetime.date(1899, 12, 30)).days}</v></c>'
    if isinstance(value, str):
        return f'<c {place} t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c {place}><v>{value}</v></c>"


def xlsx(path, sheets):
    """A workbook: sheet name -> rows, a row being values or None for a blank row."""
    names = "".join(f'<sheet name="{escape(n)}" sheetId="{k}" r:id="r{k}"/>' for k, n in enumerate(sheets, 1))
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types'
            '"><Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        book.writestr(
            "xl/workbook.xml",
            '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
            'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
            f"<sheets>{names}</sheets></workbook>",
        )
        book.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
            'officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
        links = kind.replace("worksheet", "styles").join(('<Relationship Id="r0" Type="', '" Target="styles.xml"/>'))
        links += "".join(
            f'<Relationship Id="r{k}" Type="{kind}" Target="worksheets/s{k}.xml"/>' for k in range(1, len(sheets) + 1)
        )
        book.writestr(  # the second style is that of days
            "xl/styles.xml",
            '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><cellXfs count="2">'
            '<xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            "<Relationships xmlns="
            f'"http://schemas.openxmlformats.org/package/2006/relationships">{links}</Relationships>',
        )
        for k, rows in enumerate(sheets.values(), 1):
            body = "".join(
                f'<row r="{r}">' + "".join(cell_xlsx(c, r, v) for c, v in enumerate(row)) + "</row>"
                for r, row in enumerate(rows, 1)
                if row
            )
            book.writestr(
                f"xl/worksheets/s{k}.xml",
                '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/'
                f'2006/main"><sheetData>{body}</sheetData></worksheet>',
            )
    return path


def cell_ods(value):
    if value is None:
        return "<table:table-cell/>"
    if isinstance(value, datetime.date):
        return f'<table:table-cell office:value-type="date" office:date-value="{value.isoformat()}"/>'
    if isinstance(value, str):
        return f'<table:table-cell office:value-type="string"><text:p>{escape(value)}</text:p></table:table-cell>'
    return f'<table:table-cell office:value-type="float" office:value="{value}"/>'


def ods(path, sheets):
    """The same as an OpenDocument spreadsheet."""
    space = 'xmlns:{0}="urn:oasis:names:tc:opendocument:xmlns:{0}:1.0"'
    tables = "".join(
        f'<table:table table:name="{escape(name)}">'
        + "".join("<table:table-row>" + "".join(map(cell_ods, row or [None])) + "</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in sheets.items()
    )
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr("META-INF/manifest.xml", f"<manifest:manifest {space.format('manifest')}/>")
        book.writestr(
            "content.xml",
            f"<office:document-content {space.format('office')} {space.format('table')} "
            f"{space.format('text')}><office:body><office:spreadsheet>{tables}</office:spreadsheet>"
            "</office:body></office:document-content>",
        )
    return path
