"""SDFM's script: passes the host's objects to the library. The hosts run this file; nothing imports it."""

import sys
from dataclasses import replace
from pathlib import Path

from modules import script_callbacks, scripts, shared

from sdfm_webui.host_check import is_forge, is_reforge, why_unsupported

REASON = why_unsupported(scripts, script_callbacks, shared.cmd_opts)

if REASON is not None:
    print(f"SDFM: not active, {REASON}")
else:
    from modules import (
        infotext_utils,
        processing,
        prompt_parser,
        sd_models,
        sd_samplers,
        sd_samplers_common,
        sd_samplers_kdiffusion,
        sd_samplers_timesteps,
    )
    from modules.options import OptionInfo
    from modules.ui_components import InputAccordion

    from lib_sdfm.catalog import SHIPPED_PRESETS, schema_for
    from lib_sdfm.hosts.a1111 import model_kind as a1111_kinds
    from lib_sdfm.hosts.a1111.model_outputs import DenoisedCallbacks
    from lib_sdfm.hosts.a1111.run_pass import A1111Pass
    from lib_sdfm.hosts.cross_attention import TextHost
    from lib_sdfm.hosts.forge import model_kind as forge_kinds
    from lib_sdfm.hosts.forge.run_pass import ForgePass
    from lib_sdfm.hosts.refiner import RefinerRule
    from lib_sdfm.hosts.reforge import model_kind as reforge_kinds
    from lib_sdfm.hosts.reforge.run_pass import ReforgePass
    from lib_sdfm.hosts.reforge.uncond import ReforgeWithUncond
    from lib_sdfm.hosts.run import Ways, run_of
    from lib_sdfm.hosts.uncond import DenoiserWithUncond
    from lib_sdfm.hosts.unet_layers import owner_of
    from lib_sdfm.ops.flow_schedules import Shape
    from lib_sdfm.ops.nag import attention
    from lib_sdfm.sampling.host_flow import HostFlow
    from lib_sdfm.sampling.stages import ModelFacts
    from lib_sdfm.schema.feature import MODEL, REFINER
    from lib_sdfm.schema.presets import PresetStore
    from lib_sdfm.schema.shapes import TITLE
    from sdfm_webui.axes import add_axes_option, register_axes
    from sdfm_webui.built_ins import built_ins_on
    from sdfm_webui.controls import build_panel
    from sdfm_webui.expectation import HostSchedule, NoiseTables
    from sdfm_webui.foreign_pictures import note_asked, note_local, watch_pictures
    from sdfm_webui.host_controls import HostControls, present
    from sdfm_webui.job import HostObjects, begin_batch, begin_job, forget_earlier
    from sdfm_webui.kind_memory import KindMemory
    from sdfm_webui.kind_row import add_kind_routes, build_kind_row, kind_in_title
    from sdfm_webui.kind_watch import DetectWatch, outcome, result_of
    from sdfm_webui.model_kinds import KindHost
    from sdfm_webui.old_entries import entry_classes, installed_originals, old_payloads, originals_notice, rivals
    from sdfm_webui.paste import PasteTargets, labels_of
    from sdfm_webui.preset_row import HOST_IDS
    from sdfm_webui.refiner_line import SWITCH_AT, RefinerLine, build_own_line
    from sdfm_webui.routes import add_routes, authentication
    from sdfm_webui.run_course import RunCourse
    from sdfm_webui.run_view import connect_view
    from sdfm_webui.samplers import SamplerModules, mend_samplers, register_samplers
    from sdfm_webui.stated_args import state_settings

    WATCH = DetectWatch(lambda: shared.state)
    WAYS = Ways()

    def option_rescales():
        """Return True if the option for zero terminal SNR is on."""
        return getattr(shared.opts, "sd_noise_schedule", "") == "Zero Terminal SNR"

    if is_reforge():
        from ldm_patched.ldm.modules.attention import optimized_attention
        from ldm_patched.modules import model_sampling
        from ldm_patched.modules.samplers import calc_cond_uncond_batch
        from modules.sd_samplers_common import sampling as k_sampling  # by the option for the backend
        from modules_forge.forge_sampler import sampling_cleanup, sampling_prepare

        k_external = sys.modules[sd_samplers_kdiffusion.CompVisDenoiser.__module__]
        KIND_MODULE, NEW_ADAPTER = reforge_kinds, reforge_kinds.ReforgeAdapters(model_sampling)
        TEXT = TextHost(prompt_parser.get_learned_conditioning, attend=optimized_attention)

        def new_pass(plan, p):
            return ReforgePass(plan, p, calc_cond_uncond_batch, TEXT, lambda name: getattr(shared.opts, name, None), ways=WAYS)

        def kind_target(model):
            return model

        def rescales(model):
            return bool(getattr(model, "ztsnr", False)) or option_rescales()

        def kind_probe(model):
            from modules.call_queue import queue_lock
            from modules_forge import main_thread

            ask = (outcome, forge_kinds.ask_forge, model, sampling_prepare, sampling_cleanup, WATCH)
            with queue_lock, WATCH.running():  # no picture meanwhile; the models belong to one thread
                return result_of(main_thread.run_and_wait_result(*ask))
    elif is_forge():
        from backend.attention import attention_function
        from backend.sampling.sampling_function import calc_cond_uncond_batch, sampling_cleanup, sampling_prepare
        from k_diffusion import external as k_external
        from k_diffusion import sampling as k_sampling

        KIND_MODULE, NEW_ADAPTER = forge_kinds, forge_kinds.forge_adapter
        TEXT = TextHost(prompt_parser.get_learned_conditioning, attend=attention_function)
        FLOW = HostFlow(adds_noise_right=hasattr(k_sampling, "half_log_snr_to_sigma"))  # Forge Neo

        def new_pass(plan, p):
            return ForgePass(plan, p, calc_cond_uncond_batch, TEXT, FLOW, WAYS)

        def kind_target(model):
            return model.forge_objects.unet.model

        def rescales(model):
            marked = getattr(getattr(model, "model_config", None), "ztsnr", False)
            return bool(marked) or option_rescales()

        def kind_probe(model):
            from modules.call_queue import queue_lock
            from modules_forge import main_thread

            ask = (outcome, forge_kinds.ask_forge, model, sampling_prepare, sampling_cleanup, WATCH)
            with queue_lock, WATCH.running():  # no picture meanwhile; Forge's models belong to one thread
                return result_of(main_thread.run_and_wait_result(*ask))
    else:
        from k_diffusion import external as k_external
        from k_diffusion import sampling as k_sampling

        def denoised_by():
            registered = script_callbacks.ordered_callbacks("cfg_denoised")
            return tuple(sorted({owner_of(entry.callback) for entry in registered}))

        def call_denoised(outputs, model):
            state = shared.state
            params = script_callbacks.CFGDenoisedParams(outputs, state.sampling_step, state.sampling_steps, model)
            script_callbacks.cfg_denoised_callback(params)

        DENOISED = DenoisedCallbacks(denoised_by, call_denoised)

        def contexts(context):
            """Return what keys and values are made of: a text's encoding through the loaded hypernetworks."""
            hypernetwork = sys.modules.get("modules.hypernetworks.hypernetwork")
            if hypernetwork is None:
                return context, context
            return hypernetwork.apply_hypernetworks(shared.loaded_hypernetworks, context)

        def attend(query, key, value, heads):
            return attention(query, key, value, heads, upcast=bool(getattr(shared.opts, "upcast_attn", False)))

        TEXT = TextHost(prompt_parser.get_learned_conditioning, contexts, attend)

        def new_pass(plan, p):
            return A1111Pass(plan, p, TEXT, WAYS, DENOISED)

        def kind_target(model):
            return model

        def rescales(model):
            return option_rescales()

        def v_denoiser(model):
            return k_external.CompVisVDenoiser(model, quantize=shared.opts.enable_quantization)

        KIND_MODULE, NEW_ADAPTER = a1111_kinds, a1111_kinds.A1111Adapters(v_denoiser)

        def kind_probe(model):
            from modules import devices
            from modules.call_queue import queue_lock

            with queue_lock, WATCH.running():  # no picture meanwhile
                return a1111_kinds.ask_a1111(model, devices.device, devices.autocast(), WATCH)

    def flow_shape():
        opts = shared.opts
        return Shape(rho=float(opts.rho) or None, alpha=float(opts.beta_dist_alpha), beta=float(opts.beta_dist_beta))

    KINDS = KindHost(
        new_adapter=NEW_ADAPTER,
        loaded=lambda: shared.sd_model,
        target=kind_target,
        memory=KindMemory(Path(scripts.basedir()) / "flow_models.json"),
        shape=flow_shape,
        probe=kind_probe,
        watch=WATCH,
        host_kind=KIND_MODULE.host_kind,
        host_rescales=rescales,
        **({"keep_table": KIND_MODULE.kept_table} if is_forge() else {"blind_samplers": ("LCM",)}),
    )

    def loaded_model():
        """Return the loaded model, ``None`` before there is one; ``shared.sd_model`` would load it.

        Until its first picture Forge has an object there that is no model.
        """
        data = getattr(sd_models, "model_data", None)
        model = shared.sd_model if data is None else data.sd_model
        return None if getattr(model, "sd_checkpoint_info", None) is None else model

    def refiner_rule():
        """Return how this WebUI goes over to a refiner; Forge Neo's options say that it does so in its own way."""
        opts = shared.opts
        if not hasattr(opts, "refiner_use_steps"):
            return RefinerRule()
        by_sigma, fast = not opts.refiner_use_steps, bool(getattr(opts, "refiner_fast_sd", False))
        return RefinerRule(by_sigma, keeps_conds=fast, beside_hires=False, zero_is_off=True)

    def loaded_unet():
        """Return the loaded model's UNet, ``None`` if none is loaded."""
        model = loaded_model()
        objects = getattr(model, "forge_objects", None)
        return getattr(getattr(model, "model", None) if objects is None else objects.unet.model, "diffusion_model", None)

    HOST = HostObjects(
        new_pass=new_pass,
        model=lambda: ModelFacts(sdxl=bool(shared.sd_model.is_sdxl)),
        old_payloads=lambda p: old_payloads(scripts, p),
        rivals=rivals,
        built_ins=built_ins_on,
        options=lambda: shared.opts,
        old_timelines=lambda: bool(getattr(shared.opts, "use_old_scheduling", False)),
        kinds=KINDS,
        refiner_rule=refiner_rule,
        end_others=lambda p: p.scripts.postprocess(p, processing.Processed(p, [])),
    )

    def state(p):
        state_settings(SCHEMA, p, HOST.old_payloads)

    def claimed():
        return labels_of(infotext_utils.paste_fields)

    SAMPLERS = SamplerModules(
        sd_samplers,
        sd_samplers_common,
        sd_samplers_kdiffusion,
        sd_samplers_timesteps,
        k_sampling,
        ReforgeWithUncond if is_reforge() else DenoiserWithUncond,
    )
    register_samplers(SAMPLERS, is_forge())

    def is_chosen(name):
        """Return True for the checkpoint with which jobs begin; the loaded one may be the last job's refiner."""
        try:
            chosen = sd_models.select_checkpoint()
        except FileNotFoundError:  # there is none
            return False
        return chosen is not None and sd_models.get_closet_checkpoint_match(name) == chosen

    def is_comfys(entry):
        """Return True for an entry of reForge's samplers that is made as ComfyUI makes it."""
        return entry in sd_samplers.forge_alter_samplers.samplers_data_alter

    NOISE_TABLES = NoiseTables(k_external, sys.modules.get("modules.sd_samplers_lcm"), shared.opts)
    SCHEDULE = HostSchedule(
        SAMPLERS,
        shared.opts,
        model=loaded_model,
        denoiser=NOISE_TABLES,
        goes_by_calls=is_forge(),
        is_flow=lambda: KINDS.is_remembered_as_flow(),
        rule=refiner_rule,
        is_chosen=is_chosen,
        **({"own_schedules": is_comfys} if is_reforge() else {}),
    )
    LINE = RefinerLine(SCHEDULE)

    def facts_of_course(facts, settings):
        model = loaded_model()
        return facts if model is None else KINDS.facts(replace(facts, sdxl=bool(model.is_sdxl)), settings)

    COURSE = RunCourse(
        SCHEDULE, facts_of_course, lambda settings: None if loaded_model() is None else KINDS.use_of(settings), is_forge()
    )

    def known_samplers():
        return sd_samplers.all_samplers_map

    SCHEMA = schema_for(
        lambda field: hasattr(processing.StableDiffusionProcessingTxt2Img, field), lambda name: PRESETS.get(name).request
    )
    TARGETS = PasteTargets(SCHEMA, claimed, known_samplers)
    PRESETS = PresetStore(SCHEMA, SHIPPED_PRESETS, Path(scripts.basedir()) / "user_presets.json")

    PANELS = {}
    """The panel last built, by its tab."""

    def connect_run(tab, found):
        if tab in PANELS:
            connect_view(SCHEMA, PANELS[tab], tab, found, COURSE, lambda: kind_in_title(KINDS, loaded_model()))
            PANELS[tab].connect_presets(present(found, HOST_IDS, tab), tab)

    CONTROLS = HostControls({SWITCH_AT: LINE.build}, [LINE.connect, connect_run])

    class SdfmScript(scripts.Script):
        """The entry point of panel and API."""

        setup_for_ui_only = False

        def title(self):
            return TITLE

        def show(self, is_img2img):
            return scripts.AlwaysVisible

        def ui(self, is_img2img):
            notice = originals_notice(installed_originals(scripts))
            extras = {MODEL: lambda elem_id: build_kind_row(KINDS, loaded_model, elem_id), REFINER: build_own_line}
            panel = build_panel(
                SCHEMA, TARGETS, PRESETS, InputAccordion, self.elem_id, notice, extras, has_hires=not is_img2img
            )
            PANELS["img2img" if is_img2img else "txt2img"] = panel
            named = {**TARGETS.by_api_field, **({} if is_img2img else TARGETS.by_hires_api_field)}
            fields = [infotext_utils.PasteField(panel.host_fields[api], target, api=api) for api, target in named.items()]
            self.infotext_fields, self.paste_field_names = [*panel.paste_fields, *fields], panel.sent
            return panel.inputs

        def setup(self, p, *args):
            state(p)

        def before_process(self, p, *args):
            note_asked(p)
            forget_earlier(SCHEMA, p)
            mend_samplers(p, sd_samplers.all_samplers_map)

        def process(self, p, *args):
            note_local(p)
            begin_job(SCHEMA, p, args, HOST)

        def process_batch(self, p, *args, **kwargs):
            begin_batch(SCHEMA, p, args, HOST)

        def process_before_every_sampling(self, p, *args, **kwargs):
            run = run_of(p)
            if run is not None:
                run.before_pass()

        def postprocess(self, p, processed, *args):
            watch_pictures(SCHEMA, p, args, HOST.old_payloads(p), processed, bool(shared.state.interrupted))

    globals().update(entry_classes(scripts))  # the host finds script classes among a module's names

    def on_cfg_denoiser(params):
        run = run_of(getattr(params.denoiser, "p", None))
        if run is not None:
            run.before_call(params)

    def on_app_started(demo, app):
        register_axes(SCHEMA, scripts, shared.opts, state)
        register_samplers(SAMPLERS, is_forge())
        add_routes(SCHEMA, app, claimed, known_samplers, lambda: WAYS.report(loaded_unet()), **authentication(shared.cmd_opts))
        add_kind_routes(KINDS, app, **authentication(shared.cmd_opts))

    script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
    script_callbacks.on_after_component(CONTROLS.after_component)
    script_callbacks.on_model_loaded(KINDS.model_loaded)
    script_callbacks.on_infotext_pasted(TARGETS.mend_samplers)
    script_callbacks.on_ui_settings(lambda: add_axes_option(shared.opts, OptionInfo))
    script_callbacks.on_before_ui(lambda: register_axes(SCHEMA, scripts, shared.opts, state))
    script_callbacks.on_app_started(on_app_started)
