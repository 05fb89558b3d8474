"""The embedded WebUI: its own facts, and the extension in it."""
