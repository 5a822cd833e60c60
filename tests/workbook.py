"""Workbook: an Excel file with its cells written in place, as no writer is among the packages."""

import datetime
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
STYLES = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'  # 22: date and time
DAY_0 = datetime.datetime(1899, 12, 30)


def write_workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[object]]]) -> Path:
    """Each sheet from its rows, of at most 26 cells; None is an empty cell, a datetime a number with a format."""
    named = list(enumerate(sheets, 1))
    names = [f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"/>' for i, name in named]
    targets = [
        f'<Relationship Id="r{i}" Type="{RELATION}/worksheet" Target="worksheets/sheet{i}.xml"/>' for i, _ in named
    ]
    targets.append(f'<Relationship Id="s" Type="{RELATION}/styles" Target="styles.xml"/>')
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="r0" Type="{RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {SPACE} xmlns:r="{RELATION}"><sheets>{"".join(names)}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{"".join(targets)}'
        "</Relationships>",
        "xl/styles.xml": f"<styleSheet {SPACE}>{STYLES}</styleSheet>",
    }
    for i, rows in enumerate(sheets.values(), 1):
        lines = (f'<row r="{r}">{_cells(r, row)}</row>' for r, row in enumerate(rows, 1))
        parts[f"xl/worksheets/sheet{i}.xml"] = f"<worksheet {SPACE}><sheetData>{''.join(lines)}</sheetData></worksheet>"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def _cells(r: int, row: Sequence[object]) -> str:
    return "".join(_cell(f"{chr(65 + c)}{r}", cell) for c, cell in enumerate(row) if cell is not None)


def _cell(place: str, cell: object) -> str:
    if isinstance(cell, str):
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
    if isinstance(cell, bool):
        return f'<c r="{place}" t="b"><v>{int(cell)}</v></c>'
    if isinstance(cell, datetime.datetime):
        return f'<c r="{place}" s="1"><v>{(cell - DAY_0) / datetime.timedelta(days=1)!r}</v></c>'
    return f'<c r="{place}"><v>{cell}</v></c>'
