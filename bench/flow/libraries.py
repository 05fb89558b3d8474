"""k-diffusion's samplers, without the tools for training that its package imports."""

from __future__ import annotations

from demo.importable import make_importable

make_importable()

import k_diffusion.sampling as sampling  # noqa: E402

__all__ = ["sampling"]
