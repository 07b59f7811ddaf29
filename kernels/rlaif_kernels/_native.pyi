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
