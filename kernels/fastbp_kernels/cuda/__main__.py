"""`python -m fastbp_kernels.cuda`: print the registers, instructions and memory traffic of the CUDA kernels."""

from fastbp_kernels.cuda.listing import main

main()
