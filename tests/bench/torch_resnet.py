"""ResNet-20 in plain PyTorch, trained step by step as fast as a driver asks.

    python tests/bench/torch_resnet.py float32|bfloat16

It runs under the interpreter that has PyTorch and imports nothing of the project. It tells its
version on a first line; then each line that it reads, a number of seconds, is answered with the
images per second of a run of that length. `tests.bench.torch_training` drives it.
"""

import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH = 128
STAGES = ((16, 1), (32, 2), (64, 2))  # filters, stride of the first block
BLOCKS = 3


class Block(nn.Module):
    """Two 3x3 convolutions, added to a shortcut of option A."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.stride, self.more = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        branch = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        branch = self.norm2(self.conv2(branch))
        if self.more:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return functional.relu(branch + x, inplace=True)


def resnet20(classes: int = 10) -> nn.Module:
    """He et al.'s ResNet-20: 269,722 parameters."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
    ]
    before = 16
    for filters, first_stride in STAGES:
        for number in range(BLOCKS):
            layers.append(Block(before, filters, 1 if number else first_stride))
            before = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*layers)


class Training:
    """A training step in one precision, on one batch that lies in memory."""

    def __init__(self, precision: str) -> None:
        self.model = resnet20().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
        )
        self.half = precision == "bfloat16"
        self.images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 10, (BATCH,))

    def step(self) -> tuple[float, float]:
        """Take one step; return its loss and accuracy, as a training loop shows them."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            logits = self.model(self.images)
        loss = functional.cross_entropy(logits.float(), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item(), (logits.argmax(1) == self.labels).float().mean().item()


def rate(training: Training, seconds: float) -> float:
    """Take steps for a while; return the images per second."""
    start, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - start < seconds:
        training.step()
        count += 1
    return count * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Answer until there is nothing more to read."""
    torch.manual_seed(0)
    training = Training(sys.argv[1])
    for _ in range(3):
        training.step()
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        print(rate(training, float(line)), flush=True)


if __name__ == "__main__":
    main()
