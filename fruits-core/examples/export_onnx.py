"""Writes the network as ONNX, from the weights that this crate loads: `export_onnx.py WEIGHTS.safetensors OUT.onnx`.

Input `pixels`: n x 3 x 224 x 224 in [-1, 1]; output `features`: n x 1280. Batch normalisations stay as they are; what runs the file folds them.
"""

import sys

import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

EPSILON = 1e-3
# Expansion factor, channels out, blocks, stride of the first: table 2 of the paper.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class Graph:
    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], []
        self.constant("zero", 0.0)
        self.constant("six", 6.0)

    def constant(self, name, value):
        self.constants.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))

    def tensor(self, name):
        self.constants.append(numpy_helper.from_array(self.weights[name], name))
        return name

    def node(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, x, layer, norm, stride=1, relu6=True):
        weight = self.weights[f"{layer}.weight"]
        groups = weight.shape[0] if "depthwise" in layer else 1
        # Keras pads an even size at the bottom and the right only.
        pads = [0, 0, 0, 0] if weight.shape[2] == 1 else [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
        size = list(weight.shape[2:])
        x = self.node("Conv", [x, self.tensor(f"{layer}.weight")], layer, strides=[stride] * 2, group=groups, pads=pads, kernel_shape=size)
        statistics = [self.tensor(f"{norm}.{name}") for name in ("gamma", "beta", "running_mean", "running_var")]
        x = self.node("BatchNormalization", [x, *statistics], norm, epsilon=EPSILON)
        return self.node("Clip", [x, "zero", "six"], f"{norm}_relu6") if relu6 else x


def graph(weights):
    g = Graph(weights)
    x, channels, index = g.convolution("pixels", "Conv1", "bn_Conv1", 2), 32, 0
    for expansion, out, count, first_stride in STAGES:
        for i in range(count):
            prefix = f"block_{index}_" if index else "expanded_conv_"
            stride, before = first_stride if i == 0 else 1, x
            if expansion > 1:
                x = g.convolution(x, f"{prefix}expand", f"{prefix}expand_BN")
            x = g.convolution(x, f"{prefix}depthwise", f"{prefix}depthwise_BN", stride)
            x = g.convolution(x, f"{prefix}project", f"{prefix}project_BN", relu6=False)
            if stride == 1 and channels == out:
                x = g.node("Add", [before, x], f"{prefix}add")
            channels, index = out, index + 1
    x = g.convolution(x, "Conv_1", "Conv_1_bn")
    x = g.node("GlobalAveragePool", [x], "pool")
    g.node("Flatten", [x], "features")
    return g


def main():
    g = graph(load_file(sys.argv[1]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 224, 224])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1280])
    model = helper.make_model(
        helper.make_graph(g.nodes, "MobileNetV2", [pixels], [features], g.constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, sys.argv[2])


main()
