"""Modules of M. Nielsen's *Neural Networks and Deep Learning*, by their own names: the same results, sooner.

A script of the book's runs with only its imports changed: `import network` becomes `from fastbp.book import network`,
and so for `network2` and `mnist_loader`.
"""
