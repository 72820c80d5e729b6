"""How a network's weights are drawn before training."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

_DRAWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "kaiming_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "xavier_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
    "truncated_normal": lambda weight: nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04),
}


def initialize(network: nn.Module, name: str) -> None:
    """Draws the weights of all convolutions and linear layers anew; `default` leaves what timm drew.

    Biases, norms, tokens and positions stay. Sources: He et al., ICCV 2015, equation 10; Glorot & Bengio,
    AISTATS 2010, equation 16; Saxe et al., ICLR 2014; Dosovitskiy et al., ICLR 2021 (0.02, cut at two deviations).
    """
    if name == "default":
        return
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            _DRAWS[name](module.weight)
