"""Settings: declared once, and from that the panel, generation parameters, API, axes and documents."""
