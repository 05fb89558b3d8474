"""All techniques, in the order of the panel."""

from ..schema.feature import Feature
from .cfg_rescale import CfgRescale
from .cfg_schedule import CfgSchedule
from .cfgpp import CfgPlusPlus
from .dynamic_thresholding import DynamicThresholding
from .flow import Flow
from .freeu import FreeU
from .hires_cfg import HiresCfg
from .model_kind import ModelKinds
from .pag import Pag
from .refiner_sync import RefinerSync
from .seg import Seg

TECHNIQUES: tuple[type[Feature], ...] = (
    Pag,
    Seg,
    HiresCfg,
    CfgPlusPlus,
    CfgSchedule,
    DynamicThresholding,
    CfgRescale,
    FreeU,
    ModelKinds,
    Flow,
    RefinerSync,
)
