"""Everything that needs gradio or the host's modules: controls, routes, entries of the old titles, axes, jobs."""
