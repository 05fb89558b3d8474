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
        call_queue,
        devices,
        infotext_utils,
        processing,
        prompt_parser,
        sd_models,
        sd_samplers,
        sd_samplers_common,
        sd_samplers_kdiffusion,
        sd_samplers_timesteps,
        sd_schedulers,
    )
    from modules.options import OptionInfo
    from modules.ui_components import InputAccordion

    from lib_sdfm.catalog import SHIPPED_PRESETS, schema_for
    from lib_sdfm.hosts.run import Ways, run_of
    from lib_sdfm.ops.flow_schedules import Shape
    from lib_sdfm.sampling.stages import ModelFacts
    from lib_sdfm.schema.feature import MODEL, REFINER
    from lib_sdfm.schema.host_names import HostNames
    from lib_sdfm.schema.presets import PresetStore
    from lib_sdfm.schema.shapes import TITLE
    from sdfm_webui.axes import add_axes_option, register_axes
    from sdfm_webui.built_ins import built_ins_on
    from sdfm_webui.controls import build_panel
    from sdfm_webui.expectation import HostSchedule
    from sdfm_webui.foreign_pictures import note_asked, note_local, watch_pictures
    from sdfm_webui.host_a1111 import a1111_parts
    from sdfm_webui.host_controls import HostControls, present
    from sdfm_webui.host_forge import ForgeSampling, forge_parts
    from sdfm_webui.host_parts import HostModules
    from sdfm_webui.host_reforge import reforge_parts
    from sdfm_webui.job import HostObjects, begin_batch, begin_job, end_without_pictures, forget_earlier
    from sdfm_webui.kind_memory import KindMemory
    from sdfm_webui.kind_row import add_kind_routes, build_kind_row, kind_in_title
    from sdfm_webui.kind_watch import DetectWatch
    from sdfm_webui.loaded import LoadedModel
    from sdfm_webui.model_kinds import KindHost
    from sdfm_webui.noise_tables import NoiseTables
    from sdfm_webui.old_entries import entry_classes, installed_originals, old_payloads, originals_notice, rivals
    from sdfm_webui.paste import PasteTargets, labels_of
    from sdfm_webui.preset_row import HOST_IDS
    from sdfm_webui.refiner import rule_of
    from sdfm_webui.refiner_line import SWITCH_AT, RefinerLine, build_own_line
    from sdfm_webui.routes import add_routes, authentication
    from sdfm_webui.run_course import RunCourse
    from sdfm_webui.run_view import connect_view
    from sdfm_webui.samplers import SamplerModules, mend_samplers, names_of, register_samplers
    from sdfm_webui.stated_args import state_settings

    WATCH = DetectWatch(lambda: shared.state)
    WAYS = Ways()
    COMMON = HostModules(shared, prompt_parser.get_learned_conditioning, call_queue.queue_lock, WATCH, WAYS)

    if is_reforge():
        from ldm_patched.ldm.modules.attention import optimized_attention
        from ldm_patched.modules import model_sampling
        from ldm_patched.modules.samplers import calc_cond_uncond_batch
        from modules.sd_samplers_common import sampling as k_sampling  # by the option for the backend
        from modules_forge import main_thread
        from modules_forge.forge_sampler import sampling_cleanup, sampling_prepare

        k_external = sys.modules[sd_samplers_kdiffusion.CompVisDenoiser.__module__]
        PARTS = reforge_parts(
            COMMON,
            ForgeSampling(
                calc_cond_uncond_batch, optimized_attention, sampling_prepare, sampling_cleanup, main_thread.run_and_wait_result
            ),
            model_sampling,
            lambda entry: entry in sd_samplers.forge_alter_samplers.samplers_data_alter,
        )
    elif is_forge():
        from backend.attention import attention_function
        from backend.sampling.sampling_function import calc_cond_uncond_batch, sampling_cleanup, sampling_prepare
        from k_diffusion import external as k_external
        from k_diffusion import sampling as k_sampling
        from modules_forge import main_thread

        PARTS = forge_parts(
            COMMON,
            ForgeSampling(
                calc_cond_uncond_batch, attention_function, sampling_prepare, sampling_cleanup, main_thread.run_and_wait_result
            ),
            k_sampling,
        )
    else:
        from k_diffusion import external as k_external
        from k_diffusion import sampling as k_sampling

        PARTS = a1111_parts(COMMON, script_callbacks, devices, k_external)

    def flow_shape():
        opts = shared.opts
        return Shape(rho=float(opts.rho) or None, alpha=float(opts.beta_dist_alpha), beta=float(opts.beta_dist_beta))

    LOADED = LoadedModel(shared, sd_models)
    KINDS = KindHost(
        new_adapter=PARTS.new_adapter,
        loaded=lambda: shared.sd_model,
        target=PARTS.target,
        memory=KindMemory(Path(scripts.basedir()) / "flow_models.json"),
        shape=flow_shape,
        probe=PARTS.probe,
        watch=WATCH,
        host_kind=PARTS.host_kind,
        host_rescales=PARTS.host_rescales,
        keep_table=PARTS.keep_table,
        blind_samplers=PARTS.blind_samplers,
    )

    HOST = HostObjects(
        new_pass=PARTS.new_pass,
        model=lambda: ModelFacts(sdxl=bool(shared.sd_model.is_sdxl)),
        old_payloads=lambda p: old_payloads(scripts, p),
        rivals=rivals,
        built_ins=built_ins_on,
        options=lambda: shared.opts,
        old_timelines=lambda: bool(getattr(shared.opts, "use_old_scheduling", False)),
        kinds=KINDS,
        refiner_rule=lambda: rule_of(shared.opts),
        end_others=lambda p: end_without_pictures(p, processing.Processed(p, [])),
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
        PARTS.with_uncond,
    )
    register_samplers(SAMPLERS, is_forge())

    NOISE_TABLES = NoiseTables(k_external, sys.modules.get("modules.sd_samplers_lcm"), shared.opts)
    SCHEDULE = HostSchedule(
        SAMPLERS,
        shared.opts,
        model=LOADED,
        denoiser=NOISE_TABLES,
        goes_by_calls=PARTS.goes_by_calls,
        is_flow=lambda: KINDS.is_remembered_as_flow(),
        rule=lambda: rule_of(shared.opts),
        is_chosen=LOADED.is_chosen,
        own_schedules=PARTS.own_schedules,
    )
    LINE = RefinerLine(SCHEDULE)

    def facts_of_course(facts, settings):
        model = LOADED()
        return facts if model is None else KINDS.facts(replace(facts, sdxl=bool(model.is_sdxl)), settings)

    COURSE = RunCourse(
        SCHEDULE, facts_of_course, lambda settings: None if LOADED() is None else KINDS.use_of(settings), is_forge()
    )

    def known_names():
        return HostNames(names_of(sd_samplers.all_samplers_map), sd_schedulers.schedulers_map)

    SCHEMA = schema_for(
        lambda field: hasattr(processing.StableDiffusionProcessingTxt2Img, field), lambda name: PRESETS.get(name).request
    )
    TARGETS = PasteTargets(SCHEMA, claimed, known_names)
    PRESETS = PresetStore(SCHEMA, SHIPPED_PRESETS, Path(scripts.basedir()) / "user_presets.json")

    PANELS = {}
    """The panel last built, by its tab."""

    def connect_run(tab, found):
        if tab in PANELS:
            connect_view(SCHEMA, PANELS[tab], tab, found, COURSE, lambda: kind_in_title(KINDS, LOADED()))
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
            extras = {MODEL: lambda elem_id: build_kind_row(KINDS, LOADED, elem_id), REFINER: build_own_line}
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
        add_routes(
            SCHEMA,
            app,
            claimed,
            known_names,
            lambda: WAYS.report(LOADED.unet()),
            **authentication(shared.cmd_opts),
        )
        add_kind_routes(KINDS, app, **authentication(shared.cmd_opts))

    script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
    script_callbacks.on_after_component(CONTROLS.after_component)
    script_callbacks.on_model_loaded(KINDS.model_loaded)
    script_callbacks.on_infotext_pasted(TARGETS.mend_samplers)
    script_callbacks.on_ui_settings(lambda: add_axes_option(shared.opts, OptionInfo))
    script_callbacks.on_before_ui(lambda: register_axes(SCHEMA, scripts, shared.opts, state))
    script_callbacks.on_app_started(on_app_started)
