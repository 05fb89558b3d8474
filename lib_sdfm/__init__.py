"""Guidance for Stable Diffusion UNets: tensor maths, settings and host adapters of SDFM.

Nothing in this package imports the WebUI or gradio; host objects are passed in.
"""

__version__ = "0.2.0"
