"""Prompt editing as the hosts parse it: texts in, texts and numbers out."""
