"""More configurations that must be refused, by the classes C01 to C18 (see damage_classes.py)."""

import os

from damage import EMBED, NEW_FORM, QWEN3, WEIGHTS, YARN, YARN_NEW, add, config, edit_json, rebuild, split, tensors_of, write

FILE, GENERATION = "config.json", "generation_config.json"


def text_is(name, make, *names, file=FILE, **more):
    add(name, lambda folder: write(folder / file, make((folder / file).read_text())), file, *names, **more)


def infinity(field, literal):
    """A number that JSON has not, or that no double holds."""
    return lambda text: "".join(f' "{field}": {literal},\n' if f'"{field}"' in line else line for line in text.splitlines(True))


def changed(name, file, edit, *names, **more):
    add(name, lambda folder: edit_json(folder / file, edit), file, *names, **more)


# ---- C01, C02 ----

for name, make in (("comments", lambda text: "// ours\n" + text), ("block-comment", lambda text: text.replace("{", "{ /* ours */", 1)), ("nan", infinity("rms_norm_eps", "NaN")), ("infinity", infinity("rope_theta", "Infinity")),
                   ("1e999", infinity("rope_theta", "1e999")), ("trailing-comma", lambda text: text.rstrip().rstrip("}").rstrip() + ",}"), ("single-quotes", lambda text: text.replace('"', "'")), ("bom", lambda text: "\ufeff" + text),
                   ("nul", lambda text: text + "\0"), ("string-root", lambda text: '"x"'), ("null-root", lambda text: "null"), ("true-root", lambda text: "true"), ("5-MB", lambda text: text + " " * 5000000)):
    text_is(f"C01-{name}", make)
for name, value in (("case", "Qwen2"), ("space", "qwen2 "), ("vl", "qwen2_vl"), ("moe", "qwen3_moe"), ("long", "q" * 100000), ("null", None), ("object", {}), ("true", True), ("control", "qwen2\n"), ("list", ["qwen3", "qwen2"])):
    config(f"C02-{name}", "model_type", value)

# ---- C03 to C08: sizes ----

for name, value in (("2^20-and-1", (1 << 20) + 1), ("1e9", 10 ** 9), ("2^63-1", (1 << 63) - 1), ("minus-2^31", -(1 << 31)), ("null", None), ("list", [36]), ("exact-fraction", 36.0), ("one", 1), ("35", 35), ("odd-heads", 33)):
    config(f"C03-{name}", "hidden_size", value, f"hidden_size|{EMBED}|num_attention_heads")
for name, value in (("1025", 1025), ("2^31", 1 << 31), ("minus-2", -2), ("null", None), ("true", True), ("exact-fraction", 2.0), ("less-than-stored", 1), ("list", [2]), ("object", {}), ("2^63-1", (1 << 63) - 1)):
    config(f"C04-{name}", "num_hidden_layers", value, "num_hidden_layers|model.layers.")
for field in ("num_attention_heads", "num_key_value_heads"):
    for name, value in (("1025", 1025), ("minus-3", -3), ("2^31", 1 << 31), ("true", True), ("fraction", 3.5), ("7", 7)):
        config(f"C05-{field}-{name}", field, value, "num_attention_heads|num_key_value_heads")
for name, value in (("1", 1), ("2", 2), ("17", 17), ("513", 513), ("514", 514), ("512", 512), ("true", True), ("string", "16"), ("fraction", 16.5), ("list", [16])):
    config(f"C06-{name}", "head_dim", value, "head_dim|_proj|_norm", base=QWEN3)
for name, value in (("319", 319), ("1", 1), ("322", 322), ("640", 640), ("2^23", 1 << 23), ("2^23-and-1", (1 << 23) + 1), ("2^31", 1 << 31), ("null", None), ("true", True), ("list", [320])):
    config(f"C07-{name}", "vocab_size", value, f"vocab_size|{EMBED}|eos_token_id")
for name, value in (("2^24-and-1", (1 << 24) + 1), ("2^31", 1 << 31), ("2^40", 1 << 40), ("2^63-1", (1 << 63) - 1), ("null", None), ("true", True), ("list", [512]), ("exact-fraction", 512.0), ("minus-2^40", -(1 << 40)), ("string", "2^40")):
    config(f"C08-{name}", "max_position_embeddings", value)

# ---- C09, C10: RoPE and norms ----

for name, literal in (("nan", "NaN"), ("infinity", "-Infinity"), ("1e400", "1e400"), ("null-string", '"null"'), ("list", "[10000.0]"), ("true", "true"), ("1e300", "1e300"), ("tiny", "1e-320")):
    text_is(f"C09-theta-{name}", infinity("rope_theta", literal), "rope_theta|line")
for name, factor in (("zero", 0.0), ("minus", -1e300), ("huge", 1e300), ("true", True), ("list", [4.0])):
    config(f"C09-linear-{name}", "rope_scaling.factor", factor, "factor", base=QWEN3)
    config(f"C09-yarn-{name}", "rope_scaling.factor", factor, "factor", base=YARN)
for name, value in (("2^63-1", (1 << 63) - 1), ("fraction", 64.5), ("true", True)):
    config(f"C09-original-{name}", "rope_parameters.original_max_position_embeddings", value, base=YARN_NEW)
config("C09-partial", "rope_parameters.partial_rotary_factor", 0.5, base=NEW_FORM)
config("C09-by-layer", "rope_parameters", {"full_attention": {"rope_type": "default"}}, "full_attention", base=NEW_FORM)
for name, literal in (("nan", "NaN"), ("infinity", "Infinity"), ("minus-infinity", "-Infinity"), ("1e400", "1e400"), ("1e300", "1e300"), ("null", "null"), ("list", "[1e-6]"), ("true", "true"), ("minus-one", "-1"), ("tiny", "1e-400"),
                      ("object", "{}")):
    text_is(f"C10-{name}", infinity("rms_norm_eps", literal), "rms_norm_eps|line")

# ---- C11: tied or not ----

for name, value in (("one", 1), ("zero", 0), ("null", None), ("list", [True]), ("string", "false"), ("object", {})):
    config(f"C11-{name}", "tie_word_embeddings", value)


def head(folder, rows=320, width=36, tied=False):
    tensors = tensors_of(*split(folder / WEIGHTS))
    old, _ = tensors[EMBED]
    tensors["lm_head.weight"] = ({**old, "shape": [rows, width]}, b"\0" * (4 * rows * width))
    rebuild(folder / WEIGHTS, tensors)
    edit_json(folder / FILE, lambda data: data.update(tie_word_embeddings=tied))


add("C11-untied-absent", lambda folder: edit_json(folder / FILE, lambda data: data.update(tie_word_embeddings=False)), "lm_head.weight")
add("C11-absent-flag", lambda folder: edit_json(folder / FILE, lambda data: data.pop("tie_word_embeddings")), "lm_head.weight")
add("C11-untied-short", lambda folder: head(folder, rows=319), "lm_head.weight")
add("C11-untied-wide", lambda folder: head(folder, width=37), "lm_head.weight")
add("C11-tied-and-stored", lambda folder: head(folder, tied=True), sound=True, only=("inspect", "run"))
add("C11-untied-stored", head, sound=True, only=("inspect", "run"))

# ---- C12 to C15 ----

for name, fields in (("none", {"num_experts": 0, "num_experts_per_tok": 2}), ("top-more", {"num_experts": 4, "num_experts_per_tok": 5}), ("top-0", {"num_experts": 4, "num_experts_per_tok": 0}),
                     ("sound", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}), ("minus", {"num_experts": -1, "num_experts_per_tok": 1}), ("2^31", {"num_experts": 1 << 31, "num_experts_per_tok": 1})):
    for family in ("qwen2", "qwen3"):
        def experts(data, family=family, fields=fields):
            data.update(fields, model_type=f"{family}_moe")
        changed(f"C12-{family}-{name}", FILE, experts, "model_type")
for name, value in (("float64", "float64"), ("int8", "int8"), ("fp8", "float8_e4m3fn"), ("number", 5), ("list", ["float32"]), ("empty", ""), ("case", "Float32"), ("torch", "torch.float64"), ("true", True), ("object", {}), ("long", "x" * 100000)):
    config(f"C13-{name}", "torch_dtype", value)
for name, value in (("awq-group-0", {"quant_method": "awq", "bits": 4, "group_size": 0}), ("gptq-bits-3", {"quant_method": "gptq", "bits": 3, "group_size": 128}), ("gptq-group-0", {"quant_method": "gptq", "bits": 4, "group_size": 0}),
                    ("unknown", {"quant_method": "hqq"}), ("bitsandbytes", {"quant_method": "bitsandbytes", "load_in_4bit": True}), ("no-method", {"bits": 4}), ("method-number", {"quant_method": 5}), ("number", 5), ("list", []),
                    ("string", "gptq"), ("gptq-bits-string", {"quant_method": "gptq", "bits": "4", "group_size": 128}), ("method-list", {"quant_method": ["gptq"]})):
    config(f"C14-{name}", "quantization_config", value, "quantization_config|" + str(value))
for field, value in (("model_type", '"qwen3"'), ("hidden_size", "72"), ("num_hidden_layers", "1"), ("vocab_size", "319"), ("rope_theta", "1.0"), ("tie_word_embeddings", "false"), ("torch_dtype", '"float16"'), ("rms_norm_eps", "1.0"),
                     ("rope_scaling", "{}"), ("hidden_size", "36")):
    text_is(f"C15-{field}-{value}", lambda text, field=field, value=value: text.rstrip().rstrip("}").rstrip() + f', "{field}": {value}}}', "line")
text_is("C15-escaped", lambda text: text.rstrip().rstrip("}").rstrip() + ', "\\u0068idden_size": 72}', "line")

# ---- C16: generation_config.json ----

for name, value in (("300000", list(range(300000))), ("17", list(range(17))), ("beyond", 320), ("beyond-in-list", [1, 2, 320]), ("negative", -1), ("2^31", 1 << 31), ("2^63-1", (1 << 63) - 1), ("string", "5"), ("nested", [[5]]), ("fraction", 5.0),
                    ("null-in-list", [None]), ("object", {}), ("true", True)):
    changed(f"C16-eos-{name}", GENERATION, lambda data, value=value: data.update(eos_token_id=value), "eos_token_id", only=("inspect", "run"))
for field, value in (("temperature", -1), ("temperature", "hot"), ("top_p", 1.5), ("top_p", -0.1), ("top_k", -1), ("top_k", 1.5), ("top_k", 1 << 40), ("repetition_penalty", 0), ("repetition_penalty", -1.0), ("do_sample", "yes"), ("min_p", 2)):
    changed(f"C16-{field}-{value}", GENERATION, lambda data, field=field, value=value: data.update({field: value}), field, only=("inspect", "run"))
for name, text in (("array", "[]"), ("empty", ""), ("nan", '{"temperature": NaN}'), ("twice", '{"top_k": 1, "top_k": 2}'), ("deep", "[" * 100000)):
    add(f"C16-{name}", lambda folder, text=text: write(folder / GENERATION, text), GENERATION, only=("inspect", "run"))
for name, make in (("folder", lambda path: path.mkdir()), ("fifo", os.mkfifo), ("device", lambda path: path.symlink_to("/dev/zero"))):
    for file in (FILE, GENERATION):
        def put(folder, file=file, make=make):
            (folder / file).unlink()
            make(folder / file)
        add(f"{'C01' if file == FILE else 'C16'}-is-a-{name}", put, file, only=("inspect", "run"))

# ---- C17: strings where numbers are due ----

for field in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size", "max_position_embeddings", "rope_theta", "rms_norm_eps"):
    config(f"C17-{field}", field, "151936")
    config(f"C17-{field}-hexadecimal", field, "0x24")
config("C17-eos_token_id", "eos_token_id", "151645")

# ---- C18: what names code is not run, nor looked at ----

CODE = 'import pathlib; pathlib.Path("/tmp/quern-was-run").touch()\n'
for at, fields in enumerate(({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, {"auto_map": {"AutoConfig": "../evil.Config"}}, {"auto_map": "evil.Model"}, {"auto_map": 5}, {"trust_remote_code": True}, {"trust_remote_code": "yes"},
                             {"custom_pipelines": {"x": {"impl": "evil.Pipeline"}}}, {"architectures": ["EvilForCausalLM"]}, {"_name_or_path": "/etc/passwd"}, {"transformers_version": "999"}, {"auto_map": {"AutoTokenizer": ["evil.A", None]}})):
    def code(folder, fields=fields):
        edit_json(folder / FILE, lambda data: data.update(fields))
        write(folder / "evil.py", CODE)
    add(f"C18-{at}", code, sound=True, only=("inspect", "run"))
