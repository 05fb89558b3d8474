"""PAG as the only technique, with positions of the API's list that leave no gap for the others."""

from __future__ import annotations

from lib_sdfm.schema.settings import Schema
from lib_sdfm.techniques.pag import Pag


class PagAlone(Pag):
    positions = (*range(3, 8), 17, 18, *range(8, 17))


PAG_ONLY = Schema((PagAlone,))
