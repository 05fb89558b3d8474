"""The small WebUI's modules, under the names by which extensions import them (facts of AUTOMATIC1111 1.10.1)."""
