"""The settings that matter to sampling, with A1111's names, defaults and infotext keys."""

from __future__ import annotations

from modules.options import OptionInfo

MODEL = {
    "sd_model_checkpoint": OptionInfo(None, "Checkpoint", "Model hash"),
    "sd_checkpoints_limit": OptionInfo(1, "Checkpoints kept in memory; with 1 the modules stay and the weights change"),
    "CLIP_stop_at_last_layers": OptionInfo(1, "Clip skip", "Clip skip"),
    "emphasis": OptionInfo("Original", "Emphasis mode", "Emphasis"),
    "randn_source": OptionInfo("GPU", "Random number generator source", "RNG"),
    "enable_quantization": OptionInfo(False, "Quantisation of sigmas"),
    "disable_weights_auto_swap": OptionInfo(True, "Pasting does not change the checkpoint"),
}
SAMPLING = {
    "eta_ancestral": OptionInfo(1.0, "Eta for k-diffusion samplers", "Eta"),
    "eta_ddim": OptionInfo(0.0, "Eta for DDIM", "Eta DDIM"),
    "s_churn": OptionInfo(0.0, "sigma churn", "Sigma churn"),
    "s_tmin": OptionInfo(0.0, "sigma tmin", "Sigma tmin"),
    "s_tmax": OptionInfo(0.0, "sigma tmax", "Sigma tmax"),
    "s_noise": OptionInfo(1.0, "sigma noise", "Sigma noise"),
    "sigma_min": OptionInfo(0.0, "sigma min", "Schedule min sigma"),
    "sigma_max": OptionInfo(0.0, "sigma max", "Schedule max sigma"),
    "rho": OptionInfo(0.0, "rho", "Schedule rho"),
    "beta_dist_alpha": OptionInfo(0.6, "Beta schedule alpha", "Beta schedule alpha"),
    "beta_dist_beta": OptionInfo(0.6, "Beta schedule beta", "Beta schedule beta"),
    "eta_noise_seed_delta": OptionInfo(0, "Eta noise seed delta", "ENSD"),
    "always_discard_next_to_last_sigma": OptionInfo(False, "Discard the penultimate sigma", "Discard penultimate sigma"),
    "sgm_noise_multiplier": OptionInfo(False, "SGM noise multiplier", "SGM noise multiplier"),
    "s_min_uncond": OptionInfo(0.0, "Negative guidance minimum sigma", "NGMS"),
    "s_min_uncond_all": OptionInfo(False, "NGMS at all steps", "NGMS all steps"),
    "skip_early_cond": OptionInfo(0.0, "Ignore the negative prompt early", "Skip Early CFG"),
    "pad_cond_uncond": OptionInfo(False, "Pad prompts to equal lengths", "Pad conds"),
    "batch_cond_uncond": OptionInfo(True, "Prompt and negative prompt in one call"),
    "use_old_scheduling": OptionInfo(False, "Old prompt editing timelines", "Old prompt editing timelines"),
    "refiner_switch_by_sample_steps": OptionInfo(False, "Refiner switch by steps", "Refiner switch by sampling steps"),
    "hires_fix_refiner_pass": OptionInfo("second pass", "Pass that the refiner takes part in", "Hires refiner"),
    "hires_fix_use_firstpass_conds": OptionInfo(False, "Conds of the hires pass made with the first pass"),
    "img2img_fix_steps": OptionInfo(False, "img2img does exactly the steps asked for"),
    "initial_noise_multiplier": OptionInfo(1.0, "Noise multiplier for img2img", "Noise multiplier"),
    "no_dpmpp_sde_batch_determinism": OptionInfo(False, "Do not make DPM++ SDE deterministic across batch sizes"),
}
INTERFACE = {
    "persistent_cond_cache": OptionInfo(True, "Keep conds between jobs"),
    "infotext_skip_pasting": OptionInfo([], "Keys that are not pasted"),
    "send_seed": OptionInfo(True, "Send the seed along"),
    "send_size": OptionInfo(True, "Send the size along"),
    "return_grid": OptionInfo(True, "Show a grid of several pictures"),
    "samples_save": OptionInfo(True, "Save pictures"),
    "hide_samplers": OptionInfo([], "Samplers that are not offered"),
}
option_templates: dict[str, OptionInfo] = {**MODEL, **SAMPLING, **INTERFACE}
