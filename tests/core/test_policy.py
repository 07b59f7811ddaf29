from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkpoints import checkpoint, tokeniser
from rlaif_core import CheckpointError, ConfigError, Prompt, Rollouts, Sampling
from rlaif_core.policy import TransformersPolicy, fingerprint
from rlaif_core.testing import check_policy

PROMPTS = [Prompt(id="a", text="a"), Prompt(id="b", text="What is the time in the old town?")]


def drawn(policy: Any) -> Rollouts:
    return policy.sampler(seed=0, step=1, group=3).sample(PROMPTS, Sampling(max_tokens=8))


def learn(policy: Any, rollouts: Rollouts, steps: int = 1) -> None:
    """Make the drawn answers likelier."""
    optimiser = torch.optim.AdamW([p for p in policy.module.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        (-policy.logprobs(rollouts).sum()).backward()
        optimiser.step()
        policy.version += 1


def weights(policy: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in policy.module.named_parameters()}


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


# ---- the contract


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mamba"])
def test_the_contract_of_a_policy_holds(architecture: str, policy_of: Callable[..., Any]) -> None:
    check_policy(policy_of(architecture, ends=list(range(20, 40))))


def test_the_contract_holds_with_an_adapter(policy_of: Callable[..., Any], tmp_path: Path) -> None:
    first = policy_of(how={"lora": {"r": 4}})
    learn(first, drawn(first))
    first.save(tmp_path)
    check_policy(policy_of(how={"adapter": str(tmp_path / "adapter")}))


def test_what_it_says_about_itself(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    assert (policy.context, policy.hidden_size, policy.version) == (128, 32, 0)
    assert policy_of("bloom").context is None
    assert not policy.module.training
    assert {p.dtype for p in policy.module.parameters()} == {torch.float32}
    assert {p.dtype for p in policy_of(how={"dtype": "bfloat16"}).module.parameters()} == {torch.bfloat16}
    assert policy_of(how={"attention": "eager"}).module.config._attn_implementation == "eager"


def test_the_device_is_the_gpu_where_there_is_one(checkpoint_of: Callable[..., Path]) -> None:
    policy = TransformersPolicy(checkpoint_of())
    assert policy.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert drawn(policy).tokens.device.type == policy.device.type


# ---- the reference


def test_the_reference_is_the_policy_as_it_was(policy_of: Callable[..., Any]) -> None:
    policy = policy_of("gpt2")
    with pytest.raises(ConfigError, match=r"must call policy.keep_reference\(\) in prepare"):
        policy.reference_logprobs(drawn(policy))
    policy.keep_reference()
    rollouts = drawn(policy)
    start = policy.logprobs(rollouts).detach()
    assert torch.equal(policy.reference_logprobs(rollouts), start)
    learn(policy, rollouts)
    policy.keep_reference()  # a second promise changes nothing
    assert torch.equal(policy.reference_logprobs(rollouts), start)
    assert (policy.logprobs(rollouts) - start).abs().max() > 0.01
    assert not policy.reference_logprobs(rollouts).requires_grad


@pytest.mark.parametrize("how", [{}, {"lora": {"r": 4}}])
def test_the_reference_is_read_as_the_policy_is_down_to_the_rounding(
    how: dict[str, Any], policy_of: Callable[..., Any]
) -> None:
    policy = policy_of(how={"dtype": "bfloat16", **how})
    policy.keep_reference()
    for width in range(8, 41):  # at 10 a column more or less decides whether the prompt is read once
        rollouts = policy.sampler(seed=0, step=1, group=2).recorded(
            [Prompt(id="a", text="no")], [["x" * width, "y" * width]]
        )
        logp = policy.forward(rollouts, hidden=True).logp.detach()
        assert torch.equal(policy.reference_logprobs(rollouts, hidden=True), logp)
        assert torch.equal(policy.reference_logprobs(rollouts), policy.logprobs(rollouts).detach())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi"])
def test_fresh_adapters_start_at_the_reference(architecture: str, policy_of: Callable[..., Any]) -> None:
    policy = policy_of(architecture, how={"lora": {"r": 4, "alpha": 8}})
    policy.keep_reference()
    rollouts = drawn(policy)
    base, start = weights(policy), policy.logprobs(rollouts).detach()
    assert torch.equal(policy.reference_logprobs(rollouts), start)
    learn(policy, rollouts, steps=3)
    assert torch.equal(policy.reference_logprobs(rollouts), start)
    assert (policy.logprobs(rollouts) - start).abs().max() > 0.01
    moved = {name for name, value in weights(policy).items() if not torch.equal(value, base[name])}
    trained = {name for name, p in policy.module.named_parameters() if p.requires_grad}
    assert moved == trained
    assert trained
    assert all("lora_" in name for name in trained)


def test_a_trained_adapter_is_its_own_reference(policy_of: Callable[..., Any], tmp_path: Path) -> None:
    first = policy_of(how={"lora": {"r": 4}})
    learn(first, drawn(first), steps=3)
    first.save(tmp_path)
    policy = policy_of(how={"adapter": str(tmp_path / "adapter")})
    policy.keep_reference()
    rollouts = drawn(policy)
    start = policy.logprobs(rollouts).detach()
    torch.testing.assert_close(start, first.logprobs(rollouts).detach(), rtol=0, atol=1e-5)
    assert (start - policy_of().logprobs(rollouts)).abs().max() > 0.01  # not the model without adapters
    assert torch.equal(policy.reference_logprobs(rollouts), start)
    base = policy.module.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight
    kept = policy._reference.module.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight
    assert base is kept  # frozen weights are shared, not copied
    learn(policy, rollouts, steps=3)
    assert torch.equal(policy.reference_logprobs(rollouts), start)
    assert (policy.logprobs(rollouts) - start).abs().max() > 0.01


# ---- saving and resuming


@pytest.mark.parametrize(
    ("architecture", "how"),
    [("llama", {}), ("gpt2", {}), ("gemma2", {}), ("llama", {"lora": {"r": 4}}), ("gpt2", {"lora": {"r": 4}})],
)
def test_a_saved_policy_is_an_ordinary_folder(
    architecture: str,
    how: dict[str, Any],
    policy_of: Callable[..., Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    policy = policy_of(architecture, how=how)
    rollouts = drawn(policy)
    learn(policy, rollouts, steps=2)
    before = weights(policy)
    capfd.readouterr()
    policy.save(tmp_path / "policy")
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""
    assert all(torch.equal(value, before[name]) for name, value in weights(policy).items())
    assert not list((tmp_path / "policy").rglob("*.bin"))
    assert (tmp_path / "policy" / "adapter").exists() == bool(how)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    tokens = torch.tensor([policy.chat.encode(PROMPTS[1])])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, policy.module(tokens).logits, rtol=0, atol=1e-5)
    again = TransformersPolicy(tmp_path / "policy", device="cpu")
    assert again.chat.ends == policy.chat.ends
    assert again.chat.encode(PROMPTS[1]) == policy.chat.encode(PROMPTS[1])
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").chat_template == policy.chat.tokenizer.chat_template
    torch.testing.assert_close(again.logprobs(rollouts), policy.logprobs(rollouts), rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", [{}, {"lora": {"r": 4}}])
def test_state_is_what_training_changes(how: dict[str, Any], policy_of: Callable[..., Any]) -> None:
    torch.manual_seed(5)
    policy = policy_of(how=how)
    rollouts = drawn(policy)
    policy.keep_reference()
    learn(policy, rollouts, steps=2)
    state = policy.state_dict()
    assert set(state["weights"]) == {name for name, p in policy.module.named_parameters() if p.requires_grad}
    torch.manual_seed(5)  # adapters begin at random, as a run's seed has it
    again = policy_of(how=how)
    again.keep_reference()
    again.load_state_dict(state)
    assert again.version == policy.version == 2
    for taken, given in zip(again.module.parameters(), policy.module.parameters(), strict=True):
        assert torch.equal(taken, given)
    assert torch.equal(again.logprobs(rollouts), policy.logprobs(rollouts))
    assert torch.equal(again.reference_logprobs(rollouts), policy.reference_logprobs(rollouts))


def test_what_a_module_counts_in_its_buffers_comes_back(policy_of: Callable[..., Any]) -> None:
    policies = [policy_of() for _ in range(2)]
    for policy in policies:
        policy.module.register_buffer("seen", torch.zeros(()))
        policy.module.register_buffer("scratch", torch.zeros(()), persistent=False)
    policies[0].module.seen.fill_(3)
    policies[0].module.scratch.fill_(3)
    policies[1].load_state_dict(policies[0].state_dict())
    assert (policies[1].module.seen, policies[1].module.scratch) == (3, 0)


def test_the_state_of_another_model_is_refused(policy_of: Callable[..., Any]) -> None:
    state = policy_of().state_dict()
    with pytest.raises(CheckpointError, match="the model that the policy starts from is not the one"):
        policy_of(spread=0.21).load_state_dict(state)


def test_a_model_is_known_by_all_its_weights_and_by_its_tokenizer(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    module, tokenizer = policy.module, policy.chat.tokenizer
    start = fingerprint(module, tokenizer, fresh=False)
    assert fingerprint(module, tokenizer, fresh=False) == start
    longest = max(module.parameters(), key=torch.Tensor.numel).detach().flatten()
    longest[longest.numel() // 2] += 1e-3
    moved = fingerprint(module, tokenizer, fresh=False)
    assert moved != start
    template, tokenizer.chat_template = tokenizer.chat_template, f"{tokenizer.chat_template} "
    assert fingerprint(module, tokenizer, fresh=False) != moved
    tokenizer.chat_template = template


def test_tied_embeddings_stay_tied(policy_of: Callable[..., Any], tmp_path: Path) -> None:
    policy = policy_of(tie_word_embeddings=True)
    learn(policy, drawn(policy))
    policy.save(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert torch.equal(policy.module.lm_head.weight, policy.module.model.embed_tokens.weight)


# ---- tokenisers


def test_without_a_pad_token_it_works(policy_of: Callable[..., Any]) -> None:
    policy = policy_of("gpt2", tokens={"pad": None})
    rollouts = drawn(policy)
    torch.testing.assert_close(policy.logprobs(rollouts).detach(), rollouts.logp, rtol=0, atol=1e-5)


def test_without_an_end_token_one_must_be_named(checkpoint_of: Callable[..., Path]) -> None:
    folder = checkpoint_of(tokens={"end": None})
    with pytest.raises(ConfigError, match=r"names no end-of-sequence token.*eos"):
        TransformersPolicy(folder, device="cpu")
    policy = TransformersPolicy(folder, device="cpu", eos="<|system|>")
    assert policy.chat.spell(policy.chat.encode_answer("a")) == "a<|system|>"


def test_chat_or_plain_is_a_choice(policy_of: Callable[..., Any]) -> None:
    chat, plain = policy_of().chat, policy_of(how={"chat": False}).chat
    assert chat.spell(chat.encode(PROMPTS[0])) == "<|user|>a<|end|><|assistant|>"
    assert plain.spell(plain.encode(PROMPTS[0])) == "a"


# ---- what cannot be loaded


def test_a_vocabulary_that_does_not_fit_is_refused(checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    folder = copied(checkpoint_of(), tmp_path / "other")
    tokeniser(ordinary=("<extra>", "<more>")).save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"has 105 tokens, but its model only 103 embeddings; they do not belong"):
        TransformersPolicy(folder)


def broken(folder: Path, how: str) -> Path:
    """The folder with one thing wrong."""
    if how == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "no tokeniser":
        for file in folder.glob("*token*"):
            file.unlink()
    elif how == "pickled":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    elif how == "half":
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    elif how == "headless":
        weights = {n: w for n, w in load_file(folder / "model.safetensors").items() if n != "lm_head.weight"}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        config = json.loads((folder / "config.json").read_text())
        changes = {"unknown": {"model_type": "zork"}, "no language": {"model_type": "clip"}, "shape": {"head_dim": 4}}
        (folder / "config.json").write_text("{" if how == "no JSON" else json.dumps(config | changes[how]))
    return folder


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("empty", "holds no model, for it has no config.json"),
        ("no tokeniser", "the tokenizer of model .* cannot be loaded"),
        ("pickled", r"has no .safetensors weights; pickled ones \(.bin, .pt\) are not loaded, since they can run code"),
        ("half", "cannot be loaded: Error while deserializing header"),
        ("headless", "lacks weights that a language model of its kind has: lm_head.weight; it is incomplete"),
        ("unknown", "model type `zork`"),
        ("no language", "Unrecognized configuration class"),
        ("shape", "cannot be loaded"),
        ("no JSON", "is not a valid JSON file"),
    ],
)
def test_a_broken_folder_is_named(how: str, said: str, tmp_path: Path) -> None:
    folder = broken(checkpoint(tmp_path / "broken"), how)
    with pytest.raises(ConfigError, match=said) as caught:
        TransformersPolicy(folder, device="cpu")
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("model", ["/no/such", "./no", "../no", "~/no", "runs/first/policy"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(model: str) -> None:
    with pytest.raises(ConfigError, match="there is no folder '" + model.replace(".", r"\.")):
        TransformersPolicy(model)


def test_foreign_code_is_not_run_unasked(checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    folder = copied(checkpoint_of(), tmp_path / "code")
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": classes}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    with pytest.raises(ConfigError, match="contains custom code"):
        TransformersPolicy(folder)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "gpu"}, r"\[policy\] device 'gpu' cannot be used here"),
        ({"device": "cuda:99"}, r"\[policy\] device 'cuda:99' cannot be used here"),
        ({"dtype": "int8"}, r"\[policy\] dtype is 'int8', but must be 'auto', 'float32'"),
        ({"dtype": "single"}, r"\[policy\] dtype is 'single'"),
        ({"attention": "flsh"}, "flsh.*is not supported"),
        ({"lora": {"rank": 4}}, r"\[policy\] lora has no option 'rank'. Options: r, alpha, targets"),
        ({"lora": {"dropout": 0.1}}, r"lora has dropout = 0.1, .* log-probs .* must be those of sampling. Leave it"),
        ({"lora": {"r": 0}}, r"\[policy\] lora = .* cannot be loaded: `r` should be a positive integer"),
        ({"lora": {"targets": ["zork"]}}, r"Target modules \{'zork'\} not found"),
        ({"adapter": "/no/such"}, r"\[policy\] adapter '/no/such' cannot be loaded"),
        ({"adapter": "/no/such", "lora": {}}, r"has both lora .* and adapter .*; choose one"),
    ],
)
def test_options_that_make_no_sense_are_named(
    options: dict[str, Any], said: str, checkpoint_of: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError, match=said):
        TransformersPolicy(checkpoint_of(), **{"device": "cpu", **options})


def test_loading_is_silent(checkpoint_of: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint_of("gpt2")
    capfd.readouterr()
    TransformersPolicy(folder, device="cpu", lora={"r": 2})
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""


# ---- recorded and sampled answers in one


def test_stale_rollouts_keep_their_own_log_probs(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy)
    learn(policy, rollouts)
    assert rollouts.policy_version == 0
    assert policy.version == 1
    ratio = (policy.logprobs(rollouts) - rollouts.logp).detach()
    assert (ratio[rollouts.mask] > 0).float().mean() > 0.8  # they were made likelier
    assert drawn(policy).policy_version == 1


def test_a_model_that_is_neither_here_nor_on_the_hub_is_looked_for_in_both() -> None:
    with pytest.raises(ConfigError, match=r"'no-such/model' \(there is no such folder in .*, so the hub was asked\)"):
        TransformersPolicy("no-such/model")


def test_a_full_disk_is_known_as_one_whoever_meets_it() -> None:
    from rlaif_core.policy import _serialising

    with pytest.raises(OSError, match="No space left") as raised, _serialising():
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert raised.value.errno == errno.ENOSPC
