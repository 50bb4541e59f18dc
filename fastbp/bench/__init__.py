"""`fastbp bench`: how fast this machine is, how near to that fastbp comes, and from where on a GPU is worth it."""
