"""One run: its current step, the model's predictions, the active techniques and how they compose."""
