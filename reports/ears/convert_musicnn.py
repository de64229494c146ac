"""Read musicnn's checkpoints with TensorFlow, in an environment of its own, and write their weights as NumPy files.

python -m venv tf && tf/bin/pip install tensorflow-cpu
pip download --no-deps musicnn==0.1.0 aisfx==0.1.2
unzip musicnn-0.1.0-py3-none-any.whl && unzip -j aisfx-0.1.2-py2.py3-none-any.whl '*/checkpoint.pth' -d ears
tf/bin/python reports/ears/convert_musicnn.py musicnn ears
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow


def main() -> None:
    """Convert both networks."""
    package, out = map(Path, sys.argv[1:])
    for name in ("MTT_musicnn", "MSD_musicnn"):
        with tempfile.TemporaryDirectory() as folder:
            for suffix in (".index", ".data-00000-of-00001"):  # the files in the package have no other name
                shutil.copy(package / name / suffix, Path(folder) / f"model{suffix}")
            reader = tensorflow.train.load_checkpoint(f"{folder}/model")
            names = [key for key in reader.get_variable_to_shape_map() if "Adam" not in key and "_power" not in key]
            arrays = {key.replace("/", "|"): reader.get_tensor(key) for key in names}
        out.mkdir(parents=True, exist_ok=True)
        np.savez(out / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
