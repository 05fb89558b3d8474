"""Prompt editing as the hosts understand it: texts in, texts and numbers out."""
