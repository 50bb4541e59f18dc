"""The modules of M. Nielsen's *Neural Networks and Deep Learning*, with their names and results, but faster.

A script of the book runs when only its imports are changed: `import network` becomes `from fastbp.book import network`,
and likewise for `network2` and `mnist_loader`.
"""
