"""The loaded checkpoint, asked for without loading one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LoadedModel:
    """The host's loaded checkpoint.

    :param shared: ``modules.shared``
    :param sd_models: ``modules.sd_models``
    """

    shared: Any
    sd_models: Any

    def __call__(self) -> Any:
        """Return the loaded model, ``None`` before there is one; ``shared.sd_model`` would load it.

        Until its first picture Forge has an object there that is no model.
        """
        data = getattr(self.sd_models, "model_data", None)
        model = self.shared.sd_model if data is None else data.sd_model
        return None if getattr(model, "sd_checkpoint_info", None) is None else model

    def unet(self) -> Any:
        """Return the loaded model's UNet, ``None`` if none is loaded."""
        model = self()
        objects = getattr(model, "forge_objects", None)
        return getattr(getattr(model, "model", None) if objects is None else objects.unet.model, "diffusion_model", None)

    def is_chosen(self, name: str) -> bool:
        """Return True for the checkpoint with which jobs begin; the loaded one may be the last job's refiner."""
        try:
            chosen = self.sd_models.select_checkpoint()
        except FileNotFoundError:  # there is none
            return False
        return chosen is not None and self.sd_models.get_closet_checkpoint_match(name) == chosen
