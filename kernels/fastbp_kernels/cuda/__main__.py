"""Print registers, instructions and memory traffic of the CUDA kernels: `python -m fastbp_kernels.cuda`."""

from fastbp_kernels.cuda.listing import main

main()
