"""ResNet-50, MobileNetV2 and DenseNet-121 in plain PyTorch, exported to ONNX.

    python tests/bench/torch_networks.py ResNet50|MobileNetV2|DenseNet121 FILE.onnx

It runs under the interpreter that has PyTorch and imports nothing of the project. The networks are
those of keras.applications, which has ResNet-50's strides in the first convolution of a block, as
the paper has. Weights are random, and so are the norms' statistics. `tests.bench.torch_exports`
drives it, and reads the one line that it prints: PyTorch's version.
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = {"ResNet50": 1.001e-5, "MobileNetV2": 1e-3, "DenseNet121": 1.001e-5}  # as Keras has
CLASSES = 1000


def conv_norm(
    before: int, after: int, side: int, stride: int = 1, *, groups: int = 1, act: type | None = None
) -> nn.Sequential:
    """A convolution and its norm, with an activation if asked."""
    conv = nn.Conv2d(before, after, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), *([act(inplace=True)] if act else []))


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1, added to a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_norm(before, width, 1, stride, act=nn.ReLU),
            conv_norm(width, width, 3, act=nn.ReLU),
            conv_norm(width, 4 * width, 1),
        )
        same = before == 4 * width and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(before, 4 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.branch(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    """He et al. 2016, table 1."""
    layers: list[nn.Module] = [conv_norm(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for blocks, width, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for number in range(blocks):
            layers.append(Bottleneck(before, width, 1 if number else stride))
            before = 4 * width
    return nn.Sequential(*layers, *head(before))


class Inverted(nn.Module):
    """Wider by 1x1, filtered by 3x3 channel by channel, narrow again by 1x1."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        first = [conv_norm(before, wide, 1, act=nn.ReLU6)] if expansion > 1 else []
        self.branch = nn.Sequential(
            *first,
            conv_norm(wide, wide, 3, stride, groups=wide, act=nn.ReLU6),
            conv_norm(wide, after, 1),
        )
        self.added = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.added else self.branch(x)


def mobilenet_v2() -> nn.Module:
    """Sandler et al. 2018, table 2."""
    table = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )
    layers: list[nn.Module] = [conv_norm(3, 32, 3, 2, act=nn.ReLU6)]
    before = 32
    for expansion, after, blocks, stride in table:
        for number in range(blocks):
            layers.append(Inverted(before, after, 1 if number else stride, expansion))
            before = after
    return nn.Sequential(*layers, conv_norm(before, 1280, 1, act=nn.ReLU6), *head(1280))


def norm_conv(before: int, after: int, side: int) -> nn.Sequential:
    """A norm, ReLU and a convolution."""
    conv = nn.Conv2d(before, after, side, padding=side // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(inplace=True), conv)


class Dense(nn.Module):
    """A branch of 1x1 and 3x3 whose output joins its input."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            norm_conv(before, 4 * growth, 1), norm_conv(4 * growth, growth, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.branch(x)], 1)


def densenet121(growth: int = 32) -> nn.Module:
    """Huang et al. 2017, table 1."""
    layers: list[nn.Module] = [conv_norm(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    before, stages = 64, (6, 12, 24, 16)
    for stage, blocks in enumerate(stages):
        for _ in range(blocks):
            layers.append(Dense(before, growth))
            before += growth
        if stage + 1 < len(stages):
            layers += [norm_conv(before, before // 2, 1), nn.AvgPool2d(2)]
            before //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(before), nn.ReLU(inplace=True), *head(before))


def head(channels: int) -> list[nn.Module]:
    """The mean over all positions, and logits."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


NETWORKS = {"ResNet50": resnet50, "MobileNetV2": mobilenet_v2, "DenseNet121": densenet121}


def with_statistics(model: nn.Module, epsilon: float) -> nn.Module:
    """Give every norm parameters and statistics of a trained one's kind."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = epsilon
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model.eval()


def main() -> None:
    """Export one network, its batch of any size."""
    name, path = sys.argv[1:]
    torch.manual_seed(0)
    model = with_statistics(NETWORKS[name](), EPSILON[name])
    torch.onnx.export(
        model,
        (torch.randn(1, 3, 224, 224),),
        path,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
    )
    print(torch.__version__)


if __name__ == "__main__":
    main()
