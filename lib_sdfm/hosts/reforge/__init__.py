"""reForge: Forge's model patches around ComfyUI's sampling, in A1111's WebUI.

Here is what differs from Forge. Its transformer patches and marks of rows have Forge's form: self-attention, cross-attention
and prediction space are those of :mod:`lib_sdfm.hosts.forge`.
"""
