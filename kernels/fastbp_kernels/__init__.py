"""Fused loops over arrays, compiled from scalar formulas: the element-wise half of backpropagation.

`words` are the functions a formula may use; `lowering` gives a formula a target's meaning of them; `cpu` compiles
loops around formulas with Numba. This package knows no network and imports nothing of fastbp.
"""
