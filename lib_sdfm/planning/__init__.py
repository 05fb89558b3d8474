"""From settings to a run: techniques, the plan that settings mean, and what it comes to in words."""
