"""Proposing a study from a table: `propose` finds out which column is which, `params_text` writes the params.yml."""

from .proposal import Proposal, propose, propose_all
from .text import params_text

__all__ = ["Proposal", "params_text", "propose", "propose_all"]
