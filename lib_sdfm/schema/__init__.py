"""Settings, each declared once; panel, generation parameters, API, axes and documents are generated from them."""
