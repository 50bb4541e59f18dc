"""Faster versions of the modules of M. Nielsen's *Neural Networks and Deep Learning*, with the same names and results.

To run a script of the book, change only its imports. For example, replace `import network` by
`from fastbp.book import network`. Do the same for `network2` and `mnist_loader`.
"""
