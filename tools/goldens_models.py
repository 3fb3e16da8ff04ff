"""Tiny random checkpoints and what Hugging Face's own code makes of them: tests/golden/data/models/<name>/.

Weights are seeded. A prompt is kept only where its expected outputs do not hang on rounding. In F32 every expected token
and beam stays the same when each weight moves by 1e-5 of itself (4 drawn copies; it moves the logits by some 5e-5 of
their norm, about fifty times what another order of summation does), and the best two of every position and step are at
least 1e-3 apart. In the 16-bit types every greedy choice kept has a margin of more than 0.3 standard deviations of the
logits, where the tests demand 0.25.
"""

import json
import pathlib

import numpy
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessor, LogitsProcessorList

TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PAD_ID = 296  # <|endoftext|> of the tokenizer that all of these share
GREEDY_N, BEAM_N = 24, 16
BEAMS = {
    "beam": dict(num_beams=3, length_penalty=1.0, early_stopping=False),
    "beam_long": dict(num_beams=4, length_penalty=2.0, early_stopping=False),
    "beam_early": dict(num_beams=4, length_penalty=0.5, early_stopping=True),
    "beam_never": dict(num_beams=3, length_penalty=1.5, early_stopping="never"),
    "beam_penalised": dict(num_beams=3, length_penalty=1.0, early_stopping=False, repetition_penalty=1.3),
}
BASE = dict(hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
            vocab_size=320, max_position_embeddings=512, rms_norm_eps=1e-6, tie_word_embeddings=True)
YARN = dict(factor=4.0, original_max_position_embeddings=64, beta_fast=4.0, beta_slow=0.5)

# name, family, dtype, form of the configuration, sizes that differ from BASE, rope, layout of the files
MODELS = [
    dict(name="qwen2-f32-tied", family="qwen2", dtype="F32", form="old", rope=dict(rope_theta=10000.0),
         sizes=dict(hidden_size=36, num_attention_heads=3, num_key_value_heads=3, intermediate_size=77),
         lengths=[1, 6, 33, 70], eos="list", template="config"),
    dict(name="qwen2-bf16-untied", family="qwen2", dtype="BF16", form="new", rope=dict(rope_theta=1000000.0),
         sizes=dict(hidden_size=56, num_attention_heads=7, num_key_value_heads=1, vocab_size=331, rms_norm_eps=1e-5,
                    tie_word_embeddings=False),
         lengths=[1, 6, 33, 70], eos="int", template="file"),
    dict(name="qwen3-f16", family="qwen3", dtype="F16", form="old", rope=dict(rope_theta=1000000.0),
         sizes=dict(hidden_size=40, head_dim=16, num_attention_heads=5, num_key_value_heads=5),
         lengths=[1, 6, 33, 70], eos="list", template="file"),
    dict(name="qwen3-f32-linear", family="qwen3", dtype="F32", form="old",
         rope=dict(rope_theta=100000.0, type="linear", factor=4.0), sizes=dict(head_dim=16, num_key_value_heads=1),
         lengths=[5, 60], eos="list", template="config"),
    dict(name="qwen2-f32-linear-headdim", family="qwen2", dtype="F32", form="new",
         rope=dict(rope_theta=10000.0, rope_type="linear", factor=2.5), sizes=dict(head_dim=12),
         lengths=[5, 60], eos="list", template="config"),
    dict(name="qwen3-f32-yarn-mscale", family="qwen3", dtype="F32", form="new",
         rope=dict(rope_theta=500.0, rope_type="yarn", mscale=1.2, mscale_all_dim=0.7, truncate=False, **YARN),
         sizes=dict(head_dim=16, max_position_embeddings=256), lengths=[5, 90], eos="list", template="config"),
    dict(name="qwen2-f32-yarn-mscale-old", family="qwen2", dtype="F32", form="old",
         rope=dict(rope_theta=500.0, type="yarn", mscale=0.8, mscale_all_dim=1.5, truncate=True, **YARN),
         sizes=dict(num_attention_heads=2, max_position_embeddings=256), lengths=[5, 90], eos="list", template="config"),
    dict(name="qwen3-f32-yarn-factor-old", family="qwen3", dtype="F32", form="old",
         rope=dict(rope_theta=500.0, rope_type="yarn", attention_factor=1.4, truncate=False, **YARN),
         sizes=dict(head_dim=16, max_position_embeddings=256), lengths=[5, 90], eos="int", template="config"),
    dict(name="qwen2-f32-yarn-factor", family="qwen2", dtype="F32", form="new",
         rope=dict(rope_theta=500.0, rope_type="yarn", attention_factor=0.9, mscale=1.2, mscale_all_dim=0.7, **YARN),
         sizes=dict(head_dim=16, max_position_embeddings=256), lengths=[5, 90], eos="list", template="config"),
    dict(name="qwen3-bf16-window-sharded", family="qwen3", dtype="BF16", form="new", rope=dict(rope_theta=1000000.0),
         sizes=dict(head_dim=16, num_hidden_layers=3, tie_word_embeddings=False, sliding_window=16,
                    use_sliding_window=True, max_window_layers=3,
                    layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
         lengths=[6, 33, 70], eos="list", template="file", n_shards=4),
    dict(name="qwen2-f32-window", family="qwen2", dtype="F32", form="old", rope=dict(rope_theta=1000000.0),
         sizes=dict(num_hidden_layers=3, sliding_window=9, use_sliding_window=True, max_window_layers=0,
                    layer_types=["full_attention", "sliding_attention", "full_attention"]),
         lengths=[6, 70], eos="list", template="config"),
]


class OutputPenalties(LogitsProcessor):
    """OpenAI's presence and frequency penalties, over the output alone, as DESIGN.md §4 has them."""

    def __init__(self, n_prompt, presence, frequency):
        self.n_prompt, self.presence, self.frequency = n_prompt, presence, frequency

    def __call__(self, input_ids, scores):
        counts = torch.zeros_like(scores)
        for row, ids in enumerate(input_ids[:, self.n_prompt:].tolist()):
            for token in ids:
                counts[row, token] += 1
        return scores - self.frequency * counts - self.presence * (counts > 0)


def config_json(spec):
    """config.json in one of the two forms: rope_theta/rope_scaling/torch_dtype (old), rope_parameters/dtype (new)."""
    family = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[spec["family"]]
    config = dict(architectures=[family], model_type=spec["family"], hidden_act="silu", attention_dropout=0.0,
                  initializer_range=0.02, use_cache=True, bos_token_id=None, eos_token_id=None,
                  use_sliding_window=False, sliding_window=None, max_window_layers=28)
    if spec["family"] == "qwen3":
        config["attention_bias"] = False
    config.update(BASE)
    config.update(spec["sizes"])
    rope, dtype = dict(spec["rope"]), str(DTYPES[spec["dtype"]]).removeprefix("torch.")
    if spec["form"] == "old":
        config.update(torch_dtype=dtype, rope_theta=rope.pop("rope_theta"), rope_scaling=rope or None)
    else:
        config.update(dtype=dtype, rope_parameters={"rope_type": "default", **rope})
    return config


def tensor_shapes(config):
    """Every tensor's name and shape, in the order of the files."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    n_q, n_kv = heads * head_dim, config["num_key_value_heads"] * head_dim
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        attention = {"q_proj.weight": (n_q, hidden), "k_proj.weight": (n_kv, hidden), "v_proj.weight": (n_kv, hidden),
                     "o_proj.weight": (hidden, n_q)}
        if config["model_type"] == "qwen2":
            attention |= {"q_proj.bias": (n_q,), "k_proj.bias": (n_kv,), "v_proj.bias": (n_kv,)}
        else:
            attention |= {"q_norm.weight": (head_dim,), "k_norm.weight": (head_dim,)}
        rest = {"mlp.gate_proj.weight": (inner, hidden), "mlp.up_proj.weight": (inner, hidden),
                "mlp.down_proj.weight": (hidden, inner), "input_layernorm.weight": (hidden,),
                "post_attention_layernorm.weight": (hidden,)}
        both = {f"self_attn.{name}": shape for name, shape in attention.items()} | rest
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in both.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def draw_weights(config, seed, sharpness):
    """Weights large enough that attention chooses, biases count and the logits spread over a few units."""
    rng, weights = torch.Generator().manual_seed(seed), {}
    for name, shape in tensor_shapes(config).items():
        noise = torch.randn(shape, generator=rng, dtype=torch.float64)
        if "norm" in name:
            weights[name] = (2.0 if "self_attn" in name else 1.0) + 0.25 * noise
        elif name.endswith("bias"):
            weights[name] = 0.4 * noise
        elif name in ("model.embed_tokens.weight", "lm_head.weight"):
            # Some rows are longer than others, so that the best token often stands clear of the second.
            lengths = torch.exp(sharpness * torch.randn(shape[0], 1, generator=rng, dtype=torch.float64))
            weights[name] = noise * lengths * 1.6 / shape[1] ** 0.5
        else:
            weights[name] = noise * 1.5 / shape[1] ** 0.5
    return weights


def write_weights(folder, weights, dtype, n_shards):
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in weights.items()}
    if n_shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, index = list(tensors), {}
    for shard in range(n_shards):
        part = names[shard * len(names) // n_shards:(shard + 1) * len(names) // n_shards]
        file = f"model-{shard + 1:05d}-of-{n_shards:05d}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= {name: file for name in part}
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1)
    (folder / "model.safetensors.index.json").write_text(text + "\n")


def load(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    model.generation_config = GenerationConfig()  # nothing of generation_config.json but the EOS ids, which we pass
    return model


def perturbed(folder, n_copies):
    """Copies of the model whose every weight moved by 1e-5 of itself: what rounding might do, and more."""
    for seed in range(n_copies):
        model, rng = load(folder, torch.float32), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1 + 1e-5 * torch.randn(p.shape, generator=rng))
        yield model


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def margins(scores):
    best = torch.topk(scores, 2, dim=-1).values
    return best[..., 0] - best[..., 1]


def cut_at_eos(ids, eos):
    for i, token in enumerate(ids):
        if token in eos:
            return ids[:i + 1]
    return ids


def generate(model, ids, eos, n, processors=(), **options):
    config = GenerationConfig(do_sample=False, max_new_tokens=n, eos_token_id=eos or None, pad_token_id=PAD_ID,
                              return_dict_in_generate=True, output_scores=True, output_logits=True, **options)
    prompt = torch.tensor([ids])
    with torch.no_grad():
        return model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config,
                              logits_processor=LogitsProcessorList(processors))


def greedy_case(model, ids, eos, n, **penalties):
    """One greedy run: its tokens, the margin of each over the second best, and the plain run's log-probabilities."""
    own = {k: penalties.pop(k) for k in ("presence_penalty", "frequency_penalty") if k in penalties}
    processors = [OutputPenalties(len(ids), own["presence_penalty"], own["frequency_penalty"])] if own else []
    out = generate(model, ids, eos, n, processors, **penalties)
    tokens = cut_at_eos(out.sequences[0, len(ids):].tolist(), eos)
    scores = torch.stack([s[0] for s in out.scores])[:len(tokens)]
    case = {"n": n, **penalties, **own, "ids": tokens, "margins": margins(scores).tolist()}
    if not penalties and not own:
        logprobs = torch.log_softmax(torch.stack([s[0] for s in out.logits])[:len(tokens)], -1)
        top = torch.topk(logprobs, 4, dim=-1)
        case["logprobs"] = [{"id": t, "logprob": round(float(row[t]), 6),
                             "top": [[int(i), round(float(v), 6)] for i, v in zip(ti, tv)]}
                            for t, row, ti, tv in zip(tokens, logprobs, top.indices, top.values)]
    return case


def beam_case(model, ids, eos, options):
    out = generate(model, ids, eos, BEAM_N, num_return_sequences=options["num_beams"], **options)
    beams = [{"ids": cut_at_eos(row[len(ids):].tolist(), eos), "score": round(float(score), 6)}
             for row, score in zip(out.sequences, out.sequences_scores)]
    return {"n": BEAM_N, **options, "ids": beams[0]["ids"], "beams": beams}


def all_outputs(model, ids, eos, with_beams):
    outputs = {
        "greedy": greedy_case(model, ids, eos, GREEDY_N),
        "greedy_penalised": greedy_case(model, ids, eos, GREEDY_N, repetition_penalty=1.3),
        "greedy_presence": greedy_case(model, ids, eos, GREEDY_N, presence_penalty=0.9, frequency_penalty=0.4),
    }
    if with_beams:
        outputs |= {name: beam_case(model, ids, eos, options) for name, options in BEAMS.items()}
    return outputs


def same_outputs(a, b):
    """Whether two runs give the same tokens everywhere, in every beam."""
    def tokens(run):
        return [run["ids"]] + [beam["ids"] for beam in run.get("beams", [])]
    return all(tokens(a[name]) == tokens(b[name]) for name in a)


def f32_case(model, copies, ids, eos):
    """The case of a prompt, or None where an output hangs on rounding."""
    if float(margins(logits_of(model, ids)).min()) < 1e-3:
        return None
    outputs = all_outputs(model, ids, eos, with_beams=True)
    if min(min(run.get("margins", [1])) for run in outputs.values()) < 1e-3 or len(set(outputs["greedy"]["ids"])) < 4:
        return None
    for copy in copies:
        if not same_outputs(outputs, all_outputs(copy, ids, eos, with_beams=True)):
            return None
    return outputs


def clear_prefix(case, least):
    """A greedy run cut before its first choice that is too close; None where fewer than 4 different ones remain."""
    n_clear = next((i for i, m in enumerate(case["margins"]) if m <= least), len(case["ids"]))
    if len(set(case["ids"][:n_clear])) < 4:
        return None
    kept = case | {"ids": case["ids"][:n_clear], "margins": case["margins"][:n_clear]}
    if n_clear < len(case["ids"]):
        kept["n"] = n_clear
    kept.pop("logprobs", None)
    return kept


def half_case(model, ids, eos):
    """The case of a prompt in a 16-bit type: runs as long as every choice is clear of the type's rounding."""
    least = 0.3 * float(logits_of(model, ids).std())
    outputs = {name: clear_prefix(case, least)
               for name, case in all_outputs(model, ids, eos, with_beams=False).items()}
    return None if None in outputs.values() else outputs


def choose_eos(model, prompts, spec, rng):
    """EOS ids that the model does come to: the tokens that greedy runs reach late, so that some runs end and some do not."""
    late = []
    for ids in prompts:
        tokens = greedy_case(model, ids, [], GREEDY_N)["ids"]
        late += [t for i, t in enumerate(tokens) if i > 4 and t not in tokens[:i]]
    wanted = 1 if spec["eos"] == "int" else 6
    late = list(dict.fromkeys(late))
    chosen = [late[i] for i in torch.randperm(len(late), generator=rng)[:max(1, wanted - 2)].tolist()]
    while len(chosen) < wanted:
        chosen.append(int(torch.randint(290, (1,), generator=rng)))
    return chosen


def readable(folder):
    """safetensors writes its files for the owner alone."""
    for file in folder.iterdir():
        file.chmod(0o644)


def write_side_files(folder, spec, config, eos, tokenizer):
    generation = {"eos_token_id": eos[0] if spec["eos"] == "int" else eos, "pad_token_id": PAD_ID, "do_sample": True,
                  "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(tokenizer)
    side = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
            "add_prefix_space": False, "model_max_length": config["max_position_embeddings"]}
    if spec["template"] == "config":
        side["chat_template"] = TEMPLATE
    else:
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps(side, indent=1) + "\n")


def find_case(model, copies, length, eos, spec, rng):
    """A prompt of this length whose outputs are stable, and those outputs."""
    for tries in range(1, 20001):
        ids = torch.randint(model.config.vocab_size, (length,), generator=rng).tolist()
        outputs = f32_case(model, copies, ids, eos) if spec["dtype"] == "F32" else half_case(model, ids, eos)
        if outputs is not None:
            print(f"  {length} tokens: prompt {tries}", flush=True)
            return ids, outputs
    raise SystemExit(f"{spec['name']}: no stable prompt of {length} tokens")


def case_record(folder, number, ids, outputs, model, own):
    logits = logits_of(model, ids)
    numpy.save(folder / f"logits-{number}.npy", logits.numpy().astype(numpy.float32))
    record = {"ids": ids, "logits": f"logits-{number}.npy", "min_margin": round(float(margins(logits).min()), 5)}
    if own is not None:
        record["own_relative_error"] = float((logits_of(own, ids) - logits).norm() / logits.norm())
    for value in outputs.values():
        if "margins" in value:
            value["min_margin"] = round(min(value.pop("margins")), 5)
    return record | outputs


def check_rope_tells(folder, config, ids):
    """Fails where some RoPE parameter could be left out unnoticed (those that another overrules are none of this)."""
    key = "rope_parameters" if "rope_parameters" in config else "rope_scaling"
    rope = config[key] or {}
    overruled = {"mscale", "mscale_all_dim"} if "attention_factor" in rope else set()
    defaults = {"type", "rope_type", "rope_theta", "factor", *overruled} | ({"truncate"} if rope.get("truncate", True) else set())
    whole = logits_of(load(folder, torch.float32), ids)
    for name in set(rope) - defaults:
        changed = dict(config, **{key: {k: v for k, v in rope.items() if k != name}})
        (folder / "config.json").write_text(json.dumps(changed))
        moved = float((logits_of(load(folder, torch.float32), ids) - whole).norm() / whole.norm())
        if moved < 1e-3:
            raise SystemExit(f"{folder.name}: without {name} the logits move by {moved} only")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def write_model(root, spec, tokenizer, seed):
    folder = pathlib.Path(root) / spec["name"]
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    print(spec["name"], flush=True)
    config, rng = config_json(spec), torch.Generator().manual_seed(seed)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights = draw_weights(config, seed, 0.25 if spec["dtype"] == "F32" else 0.6)
    write_weights(folder, weights, DTYPES[spec["dtype"]], spec.get("n_shards", 1))
    model = load(folder, torch.float32)
    own = None if spec["dtype"] == "F32" else load(folder, DTYPES[spec["dtype"]])
    copies = list(perturbed(folder, 4)) if own is None else []
    prompts = [torch.randint(config["vocab_size"], (n,), generator=rng).tolist() for n in spec["lengths"]]
    eos = choose_eos(model, prompts, spec, rng)
    write_side_files(folder, spec, config, eos, tokenizer)
    cases = []
    for number, length in enumerate(spec["lengths"]):
        ids, outputs = find_case(model, copies, length, eos, spec, rng)
        cases.append(case_record(folder, number, ids, outputs, model, own))
    check_rope_tells(folder, config, cases[-1]["ids"])
    golden = {"family": spec["family"], "dtype": str(DTYPES[spec["dtype"]]).removeprefix("torch."),
              "parameters": sum(p.numel() for p in model.parameters()), "eos": eos, "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    readable(folder)


def write(root, tokenizer, seed, only=None):
    for number, spec in enumerate(MODELS):
        if only is None or only in spec["name"]:
            write_model(root, spec, tokenizer, seed + number)
