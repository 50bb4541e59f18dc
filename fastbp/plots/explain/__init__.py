"""A page in which backpropagation of one example can be explored: its values as numbers and pictures, in one file."""
