"""One run: where it stands, what the model predicted, which techniques take part and how they compose."""
