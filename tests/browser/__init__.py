"""The demo's page in a browser, under both versions of gradio."""
