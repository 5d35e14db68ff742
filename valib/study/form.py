"""The parameters of a study that say in which form its results are written."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from .writing import CsvForm


class Publishing(BaseModel):
    """The parameters of a study that say in which form results are written, and change none of them."""

    excel: bool = Field(False, description="Also one workbook for Excel and LibreOffice")
    figures: bool = Field(True, description="Pictures beside the results of a fit (PNG and SVG)")
    decimal: Literal[".", ","] = Field(".", description="Decimal sign of CSV files; with a comma, fields end in ;")
    byte_order_mark: bool = Field(False, description="Byte-order mark before CSV files, for Excel")

    @classmethod
    def names(cls) -> list[str]:
        """All parameters, those of this class last."""
        last = list(Publishing.model_fields)
        return [name for name in cls.model_fields if name not in last] + last

    @property
    def csv_form(self) -> CsvForm:
        """How the study's CSV files are written."""
        return CsvForm(self.decimal, self.byte_order_mark)
