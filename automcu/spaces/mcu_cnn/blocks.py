"""From stages to layers.

A block of stages[i], repeat j, has layers named `stage{i}_block{j}_...`; pooling stages are `stage{i}_pool`.
"""

from automcu.architecture import Shape
from automcu.errors import InvalidArchitecture
from automcu.graph.network import (
    INPUT,
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAveragePool,
    Layer,
    Network,
    Pool,
)
from automcu.spaces.mcu_cnn.description import (
    BottleneckStage,
    ConvStage,
    GhostStage,
    InvertedStage,
    McuCnn,
    PoolStage,
    ResidualStage,
    SeparableStage,
    WeightedStage,
)


def network_of(cnn: McuCnn, input_shape: Shape, class_count: int) -> Network:
    """The layers of `cnn`. Raises `InvalidArchitecture` when it halves a map that is only 1 high or wide."""
    height, width, channels = input_shape
    layers = _Layers(channels)
    for i, stage in enumerate(cnn.stages):
        stride = 2 if isinstance(stage, PoolStage) else stage.stride
        if stride == 2 and min(height, width) < 2:
            raise InvalidArchitecture(
                f"stages[{i}] halves a map of {height} x {width}; give it stride 1, or downsample less before it"
            )
        height, width = -(-height // stride), -(-width // stride)
        if isinstance(stage, PoolStage):
            layers.pool(f"stage{i}_pool", stage)
            continue
        for j in range(stage.repeats):
            layers.block(f"stage{i}_block{j}", stage, stride if j == 0 else 1)
    layers.head(cnn.hidden_units, class_count)
    return Network(input_shape, tuple(layers.done))


class _Layers:
    """Layers so far; `last` names the one that the next block reads, `channels` are that one's."""

    def __init__(self, input_channels: int) -> None:
        self.done: list[Layer] = []
        self.last = INPUT
        self.channels = input_channels

    def pool(self, name: str, stage: PoolStage) -> None:
        self._add(Pool(name, self.last, "max" if stage.block == "max_pool" else "average", stage.kernel, 2))

    def head(self, hidden_units: int, class_count: int) -> None:
        self._add(GlobalAveragePool("head_pool", self.last))
        if hidden_units:
            self._add(Dense("head_hidden", self.last, hidden_units, "relu"))
        self._add(Dense("head_logits", self.last, class_count, "none"))

    def block(self, name: str, stage: WeightedStage, stride: int) -> None:
        match stage:
            case ConvStage():
                self._conv(f"{name}_conv", stage.channels, stage.kernel, stride, stage.activation)
            case SeparableStage():
                self._depthwise(f"{name}_depthwise", stage.kernel, stride, stage.activation)
                self._conv(f"{name}_pointwise", stage.channels, 1, 1, stage.activation)
            case InvertedStage():
                self._inverted(name, stage, stride)
            case ResidualStage():
                self._residual(name, stage, stride)
            case BottleneckStage():
                self._bottleneck(name, stage, stride)
            case GhostStage():
                self._ghost(name, stage, stride)

    def _inverted(self, name: str, stage: InvertedStage, stride: int) -> None:
        """MobileNetV2, figure 4: no expansion layer at expansion 1, nothing after the projection, a residual where
        shapes allow."""
        entry, entry_channels = self.last, self.channels
        if stage.expansion > 1:
            self._conv(f"{name}_expand", entry_channels * stage.expansion, 1, 1, stage.activation)
        self._depthwise(f"{name}_depthwise", stage.kernel, stride, stage.activation)
        self._conv(f"{name}_project", stage.channels, 1, 1, "none")
        if stride == 1 and entry_channels == stage.channels:
            self._add(Add(f"{name}_add", entry, self.last, "none"))

    def _residual(self, name: str, stage: ResidualStage, stride: int) -> None:
        """ResNet, figure 5 (left)."""
        entry = self.last, self.channels
        self._conv(f"{name}_conv", stage.channels, stage.kernel, stride, stage.activation)
        self._conv(f"{name}_second", stage.channels, stage.kernel, 1, "none")
        self._join(name, entry, stride, stage.activation)

    def _bottleneck(self, name: str, stage: BottleneckStage, stride: int) -> None:
        """ResNet, figure 5 (right). The stride sits on the k x k convolution, so that no pixel goes unread on the main
        branch."""
        entry = self.last, self.channels
        width = stage.channels // stage.expansion
        self._conv(f"{name}_reduce", width, 1, 1, stage.activation)
        self._conv(f"{name}_conv", width, stage.kernel, stride, stage.activation)
        self._conv(f"{name}_expand", stage.channels, 1, 1, "none")
        self._join(name, entry, stride, stage.activation)

    def _join(self, name: str, entry: tuple[str, int], stride: int, activation: Activation) -> None:
        """ResNet's option B: the shortcut is a 1 x 1 projection only where the shape changes."""
        shortcut, channels = entry
        if stride != 1 or channels != self.channels:
            shortcut = f"{name}_shortcut"
            self.done.append(Conv(shortcut, entry[0], self.channels, 1, stride, "none"))
        self._add(Add(f"{name}_add", shortcut, self.last, activation))

    def _ghost(self, name: str, stage: GhostStage, stride: int) -> None:
        """GhostNet, figure 2 with ratio 2: a primary convolution makes half the channels, a cheap depthwise one the
        other half. The primary one is 1 x 1 as in GhostNet, but k x k where it has the stride, as in the paper's
        Ghost-VGG-16: a 1 x 1 filter at stride 2 would throw three pixels in four away unread."""
        half = stage.channels // 2
        self._conv(f"{name}_primary", half, stage.kernel if stride == 2 else 1, stride, stage.activation)
        primary = self.last
        self._depthwise(f"{name}_cheap", stage.kernel, 1, stage.activation)
        self._add(Concat(f"{name}_concat", (primary, self.last)))
        self.channels = stage.channels

    def _conv(self, name: str, channels: int, kernel: int, stride: int, activation: Activation) -> None:
        self._add(Conv(name, self.last, channels, kernel, stride, activation))
        self.channels = channels

    def _depthwise(self, name: str, kernel: int, stride: int, activation: Activation) -> None:
        self._add(DepthwiseConv(name, self.last, kernel, stride, activation))

    def _add(self, layer: Layer) -> None:
        self.done.append(layer)
        self.last = layer.name
