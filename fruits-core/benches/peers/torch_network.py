"""The network in torch, with batch normalisations folded into the convolutions: what torch's own tools do before deployment."""

import torch
from safetensors.numpy import load_file
from torch import nn

STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class Pad(nn.Module):
    """Zeros behind the last row and column, as Keras pads maps of even size before stride 2."""

    def forward(self, x):
        return nn.functional.pad(x, (0, 1, 0, 1))


class Residual(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


def convolution(weights, layer, norm, stride=1, relu6=True):
    weight = torch.from_numpy(weights[f"{layer}.weight"]).double()
    gamma, beta, mean, variance = (torch.from_numpy(weights[f"{norm}.{name}"]).double() for name in ("gamma", "beta", "running_mean", "running_var"))
    scale = gamma / (variance + 1e-3).sqrt()
    size, groups = weight.shape[2], weight.shape[0] if "depthwise" in layer else 1
    module = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], size, stride, padding=size // 2 if stride == 1 else 0, groups=groups)
    module.weight.data = (weight * scale[:, None, None, None]).float()
    module.bias.data = (beta - mean * scale).float()
    return [Pad()] * (stride == 2) + [module] + [nn.ReLU6(inplace=True)] * relu6


def network(weights_file):
    weights = load_file(weights_file)
    layers, channels, index = convolution(weights, "Conv1", "bn_Conv1", 2), 32, 0
    for expansion, out, count, first_stride in STAGES:
        for i in range(count):
            prefix, stride, body = f"block_{index}_" if index else "expanded_conv_", first_stride if i == 0 else 1, []
            if expansion > 1:
                body += convolution(weights, f"{prefix}expand", f"{prefix}expand_BN")
            body += convolution(weights, f"{prefix}depthwise", f"{prefix}depthwise_BN", stride)
            body += convolution(weights, f"{prefix}project", f"{prefix}project_BN", relu6=False)
            layers += [Residual(nn.Sequential(*body))] if stride == 1 and channels == out else body
            channels, index = out, index + 1
    layers += convolution(weights, "Conv_1", "Conv_1_bn")
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().to(memory_format=torch.channels_last)
