"""Makes the golden values: what Pillow and Keras give for a dozen photos of data-sample with our weights.

Run by hand when data-sample changes, in an environment with requirements.txt of this folder:

    python tests/golden/make.py ~/.local/share/fruits/mobilenet_v2.safetensors

`pixels/` holds what goes into `x / 127.5 - 1`, 224x224 RGB as PNG; `features.safetensors` the 1280 features of each photo.
"""

import pathlib
import sys

import keras
import numpy
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
PHOTOS = HERE.parent.parent / "data-sample"
VIEWS = ("view-00.jpg", "view-09.jpg")
KERAS_NAMES = {"gamma": "gamma", "beta": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def network(weights_file: str) -> keras.Model:
    weights = load_file(weights_file)
    model = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=None, pooling="avg")
    used = 0
    for layer in model.layers:
        for variable in layer.weights:
            name = {keras_name: ours for ours, keras_name in KERAS_NAMES.items()}.get(variable.name, "weight")
            array = weights[f"{layer.name}.{name}"]
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                array = array.transpose(2, 3, 0, 1)
            elif isinstance(layer, keras.layers.Conv2D):
                array = array.transpose(2, 3, 1, 0)
            variable.assign(array)
            used += 1
    assert used == len(weights), f"{used} of {len(weights)} tensors used"
    return model


def main() -> None:
    paths = sorted(path for view in VIEWS for path in PHOTOS.glob(f"*/{view}"))
    pixels = [Image.open(path).convert("RGB").resize((224, 224)) for path in paths]
    batch = numpy.stack([numpy.asarray(image, dtype=numpy.float32) for image in pixels])
    features = network(sys.argv[1]).predict(keras.applications.mobilenet_v2.preprocess_input(batch), verbose=0)

    (HERE / "pixels").mkdir(exist_ok=True)
    for path, image in zip(paths, pixels):
        image.save(HERE / "pixels" / f"{path.parent.name}-{path.stem}.png", optimize=True)
    names = [path.relative_to(PHOTOS).as_posix() for path in paths]
    save_file(dict(zip(names, features.astype(numpy.float32))), HERE / "features.safetensors")
    print(f"{len(names)} photos")


if __name__ == "__main__":
    main()
