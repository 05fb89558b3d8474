"""Tensor maths: tensors and numbers in, tensors out."""
