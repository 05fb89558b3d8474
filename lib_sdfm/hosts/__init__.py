"""Host adapters, which attach a run to a WebUI. Host objects are passed in, never imported."""
