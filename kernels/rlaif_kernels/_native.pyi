Linear = list[tuple[int, int, int]]  # of each part: the address of its weight and of its bias, and its outputs

def build_info() -> dict[str, str]: ...
def gae_f32(
    rewards: int,
    values: int,
    mask: int,
    dones: int,
    next_values: int,
    advantages: int,
    returns: int,
    rows: int,
    steps: int,
    gamma: float,
    lam: float,
) -> None: ...
def gae_f64(
    rewards: int,
    values: int,
    mask: int,
    dones: int,
    next_values: int,
    advantages: int,
    returns: int,
    rows: int,
    steps: int,
    gamma: float,
    lam: float,
) -> None: ...
def variants() -> list[str]: ...
def members(asked: int) -> int: ...
def logprobs_forward(
    *,
    logits: int,
    stride: int,
    rows: int,
    vocabulary: int,
    targets: int,
    ignored: int,
    temperatures: int,
    temperature: float,
    scale: float,
    cap: float,
    logprobs: int,
    entropies: int,
    largest: int,
    logsums: int,
    threads: int,
    variant: str = "",
) -> None: ...
def logprobs_backward(
    *,
    logits: int,
    stride: int,
    rows: int,
    vocabulary: int,
    targets: int,
    ignored: int,
    temperatures: int,
    temperature: float,
    scale: float,
    cap: float,
    entropies: int,
    largest: int,
    logsums: int,
    of_logprobs: int,
    of_entropies: int,
    gradient: int,
    threads: int,
    variant: str = "",
) -> None: ...

class Decoder:
    def __init__(
        self,
        *,
        rows: int,
        hidden: int,
        heads: int,
        groups: int,
        width: int,
        rotary: int,
        inner: int,
        vocabulary: int,
        room: int,
        layers: int,
        epsilon: float,
        scaling: float,
        threads: int,
        variant: str = "",
    ) -> None: ...
    def set_block(
        self,
        *,
        layer: int,
        before: int,
        between: int,
        query: int,
        key: int,
        qkv: Linear,
        projection: Linear,
        gate_up: Linear,
        down: Linear,
    ) -> None: ...
    def set_head(self, *, last: int, head: Linear) -> None: ...
    def remember(self, *, layer: int, row: int, keys: int, values: int, stride: int, count: int) -> None: ...
    def step(self, *, x: int, cosines: int, sines: int, logits: int) -> None: ...
    def keep(self, rows: list[int]) -> None: ...
