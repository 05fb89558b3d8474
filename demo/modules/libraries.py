"""The parts of third-party packages that the WebUI needs. Import this before k_diffusion, ldm or torchvision."""

from __future__ import annotations

from importable import make_importable

make_importable()

import k_diffusion.external  # noqa: E402
import k_diffusion.sampling  # noqa: E402
import k_diffusion.utils  # noqa: E402
from ldm.modules.attention import SpatialTransformer  # noqa: E402
from ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402
from ldm.modules.diffusionmodules.util import timestep_embedding  # noqa: E402

external = k_diffusion.external
sampling = k_diffusion.sampling

__all__ = ["SpatialTransformer", "UNetModel", "external", "sampling", "timestep_embedding"]
