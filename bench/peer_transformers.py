#!/usr/bin/env python3
"""The peer beside our figures: transformers in eager mode, as the service that Quern replaces ran it, random weights of a shape.

usage: peer_transformers.py qwen2.5-7b|qwen2.5-3b [N_NEW]      needs torch with CUDA and transformers
Prints tokens/s of greedy decoding after a prompt of 128 tokens, one sequence, and the same for a prompt of 4,096 read once.
"""
import sys
import time

import torch
import transformers

SHAPES = {
    "qwen2.5-7b": dict(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
                       num_key_value_heads=4, vocab_size=152064, tie_word_embeddings=False),
    "qwen2.5-3b": dict(hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16,
                       num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True),
}


def main(shape, n_new=50):
    config = transformers.Qwen2Config(**SHAPES[shape], max_position_embeddings=8192)
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda"), torch.no_grad():
        model = transformers.Qwen2ForCausalLM(config).eval()
        for n_prompt, n in ((128, n_new), (4096, 1)):
            ids = torch.randint(0, config.vocab_size, (1, n_prompt))
            for _ in range(2):
                torch.cuda.synchronize()
                start = time.perf_counter()
                model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)
                torch.cuda.synchronize()
                seconds = time.perf_counter() - start
            rate = n / seconds if n > 1 else n_prompt / seconds
            print(f"{shape}: {'decode' if n > 1 else 'prefill of 4096'}: {rate:.1f} tok/s")


main(sys.argv[1], *map(int, sys.argv[2:]))
