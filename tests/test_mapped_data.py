"""Training and testing on a file that is larger than what may be held of it in memory."""

import sys

import pytest

SCRIPT = """
import struct, sys
import numpy as np
import fastbp

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))

n, side = 8192, 512
with open("images", "wb") as file:  # 2 GB, all holes
    file.write(struct.pack(">4i", 0x803, n, side, side))
    file.truncate(16 + n * side * side)
images = fastbp.datasets.read_idx("images")
x, y = images.reshape(n, -1).T, np.arange(n) % 2
net = fastbp.Network([side * side, 2, 2], rng=0, input_scale=1 / 255)
small = {"epochs": 1, "mini_batch_size": 8, "eta": 0.1, "progress": False}
net.train(x[:, :64], y[:64], validation=(x[:, :16], y[:16]), **small)
before = anonymous()
net.train(x, y, validation=(x[:, :2048], y[:2048]), **small)
net.predict(x[:, :2048])
print(anonymous() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status and writes a sparse file")
def test_anonymous_memory_does_not_grow_with_a_mapped_file(run_python):
    done = run_python(SCRIPT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 32  # MiB, of 2,048 trained on
