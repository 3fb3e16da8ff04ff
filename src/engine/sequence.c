// See sequence.h. Lists, what a sequence holds, and its tokens.
#include "engine/sequence.h"

#include "engine/engine.h"

void qn_sequence_insert(qn_sequence_list *list, qn_sequence *s)
{
    qn_sequence *before = list->last;
    while (before && before->order > s->order)
        before = before->previous;
    s->previous = before;
    s->next = before ? before->next : list->first;
    *(s->next ? &s->next->previous : &list->last) = s;
    *(before ? &before->next : &list->first) = s;
}

void qn_sequence_remove(qn_sequence_list *list, qn_sequence *s)
{
    *(s->previous ? &s->previous->next : &list->first) = s->next;
    *(s->next ? &s->next->previous : &list->last) = s->previous;
    s->previous = s->next = NULL;
}

void qn_sequence_take_slots(quern_model *m, qn_sequence *s, int n)
{
    for (s->n_slots = 0; s->n_slots < n; s->n_slots++) {
        int slot = m->free_slots[--m->n_free_slots];
        s->slots[s->n_slots] = slot;
        m->slots[slot].params_sent = false;
    }
    s->beam_slots[0] = s->slots[0];
}

void qn_sequence_free_slots(quern_model *m, qn_sequence *s)
{
    for (int i = 0; i < s->n_slots; i++) {
        qn_slot_clear(m, s->slots[i]);
        m->free_slots[m->n_free_slots++] = s->slots[i];
    }
    s->n_slots = 0;
}

void qn_sequence_rewind(qn_sequence *s)
{
    s->n_launched = s->n_pending = s->n_sent = 0;
    s->beams_chosen = false;
    if (s->request->resolved.strategy != QUERN_BEAM) return;
    qn_beam_restart(&s->request->search);
    s->n_out = 0;
}

int qn_sequence_n_tokens(const qn_sequence *s)
{
    return (int)s->request->prompt.n + s->n_out + s->n_pending;
}

int32_t qn_sequence_token(const qn_sequence *s, int position)
{
    const quern_request *r = s->request;
    int n_prompt = (int)r->prompt.n;
    return position < n_prompt ? r->prompt.data[position] : r->ids[position - n_prompt];
}
