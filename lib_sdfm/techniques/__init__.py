"""All techniques, in the order of the panel."""

from ..schema.feature import Feature
from .adaptive_guidance import AdaptiveGuidance
from .apg import Apg
from .cfg_rescale import CfgRescale
from .cfg_schedule import CfgSchedule
from .cfg_zero import CfgZero
from .cfgpp import CfgPlusPlus
from .dynamic_thresholding import DynamicThresholding
from .epsilon_scaling import EpsilonScaling
from .fdg import Fdg
from .flow import Flow
from .freeu import FreeU
from .guidance import Guidance
from .hires_cfg import HiresCfg
from .mahiro import Mahiro
from .model_kind import ModelKinds
from .nag import Nag
from .pag import Pag
from .refiner_sync import RefinerSync
from .seg import Seg
from .tpg import Tpg

TECHNIQUES: tuple[type[Feature], ...] = (
    Pag,
    Seg,
    Tpg,
    HiresCfg,
    CfgPlusPlus,
    CfgSchedule,
    AdaptiveGuidance,
    DynamicThresholding,
    Apg,
    Fdg,
    CfgZero,
    Mahiro,
    CfgRescale,
    EpsilonScaling,
    Nag,
    FreeU,
    ModelKinds,
    Flow,
    RefinerSync,
    Guidance,
)
