"""Batched answers of a PyTorch model to exam questions: greedy, or drawn from a seed."""

import torch

from corpus import chat

from . import tokenizer as tok

_ENDS = ("<|im_end|>", "<|endoftext|>")
_TEMPERATURE, _TOP_K, _TOP_P = 0.7, 20, 0.9


def _prompt(question):
    if question.prompt is not None:
        return question.prompt
    return chat.render(question.messages, question.tools, add_generation_prompt=True)


def _draw(logits, generator):
    """One token of each row at the temperature and filters of generation_config.json."""
    top, ids = torch.topk(logits.float() / _TEMPERATURE, _TOP_K)
    probs = torch.softmax(top, -1)
    probs = probs * ((torch.cumsum(probs, -1) - probs) < _TOP_P)
    drawn = torch.multinomial(probs.cpu(), 1, generator=generator).to(ids.device)
    return ids.gather(1, drawn)[:, 0]


def _batch(model, rows, n_new, generator):
    """Token rows of one batch, left-padded, continued until each has ended or n_new are made."""
    device = model.device
    ends = torch.tensor([tok.token_id(text) for text in _ENDS], device=device)
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    made, done, cache = [], torch.zeros(len(rows), dtype=torch.bool, device=device), None
    for _ in range(n_new):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1]:]
        out = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
                    logits_to_keep=1)
        logits, cache = out.logits[:, -1], out.past_key_values
        token = logits.argmax(-1) if generator is None else _draw(logits, generator)
        made.append(token)
        done |= torch.isin(token, ends)
        if done.all():
            break
        ids, mask = token[:, None], torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return torch.stack(made, 1).tolist(), ends.tolist()


@torch.no_grad()
def answer(model, tokenizer, questions, batch_rows=128):
    """[(text, ended)] in the order of the questions."""
    results = [None] * len(questions)
    encoded = [tokenizer.encode(_prompt(question)).ids for question in questions]
    order = sorted(range(len(questions)), key=lambda i: (questions[i].max_tokens, len(encoded[i])))
    for is_greedy in (True, False):
        chosen = [i for i in order if (questions[i].seed is None) == is_greedy]
        generator = None if is_greedy else torch.Generator().manual_seed(1)
        for begin in range(0, len(chosen), batch_rows):
            group = chosen[begin:begin + batch_rows]
            n_new = max(questions[i].max_tokens for i in group)
            rows, ends = _batch(model, [encoded[i] for i in group], n_new, generator)
            for i, row in zip(group, rows):
                row = row[:questions[i].max_tokens]
                stop = next((k for k, token in enumerate(row) if token in ends), None)
                results[i] = (tokenizer.decode(row[:stop], skip_special_tokens=False), stop is not None)
    return results
