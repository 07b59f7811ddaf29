import rlaif_core as rl
@rl.reward
def brevity(prompt: rl.Prompt, completion: str) -> float: return -len(completion) / 1000
