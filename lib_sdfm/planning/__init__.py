"""From settings to a run: techniques, the plan of settings, and its explanation in words."""
