"""`fastbp bench`: the speed of training on each backend, compared with what the machine can do."""
