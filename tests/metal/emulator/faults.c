// Signals of a kernel (a store past a buffer's end, a stack overflow, an integer division by zero) become the run's error:
// the handler sends the fiber on at fault_exit(), on the top of its own stack, and the scheduler takes over from there.
// Handlers and the alternate stack are installed for the length of a run and then put back.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "internal.h"

static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { N_CAUGHT = sizeof(caught) / sizeof(caught[0]) };
static struct sigaction before[N_CAUGHT];
static stack_t stack_before;
static char handler_stack[64 << 10];

static void fault_exit(void)
{
    qn_emulator_fiber_wait(QN_EMULATOR_FAULTED);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    qn_emulator_state *now = &qn_emulator_now;
    ucontext_t *c = context;
    char *top = now->current ? now->current->stack_top - 128 : NULL;
    if (!top || now->signal) _exit(128 + signal); // not in a kernel, or a fault on the way out
    now->signal = signal;
    now->fault_address = info->si_addr;
#if defined(__x86_64__)
    c->uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)top - 8; // as after a call
    c->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)fault_exit;
#else
    c->uc_mcontext.sp = (uintptr_t)top;
    c->uc_mcontext.pc = (uintptr_t)fault_exit;
#endif
}

void qn_emulator_faults_catch(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK, .sa_sigaction = on_fault};
    stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof(handler_stack)};
    sigemptyset(&action.sa_mask);
    sigaltstack(&stack, &stack_before);
    for (int i = 0; i < N_CAUGHT; i++)
        sigaction(caught[i], &action, &before[i]);
    qn_emulator_now.signal = 0;
    qn_emulator_now.current = NULL;
}

void qn_emulator_faults_release(void)
{
    for (int i = 0; i < N_CAUGHT; i++)
        sigaction(caught[i], &before[i], NULL);
    sigaltstack(&stack_before, NULL);
}

void qn_emulator_where(const void *address, char *text, size_t n_bytes)
{
    const qn_emulator_state *now = &qn_emulator_now;
    const char *p = address, *stack = now->current->stack;
    long long best = 1 << 20;
    snprintf(text, n_bytes, "near no buffer");
    if (p < stack && stack - p <= QN_EMULATOR_STACK_GUARD) {
        snprintf(text, n_bytes, "the thread's stack has overflowed");
        return;
    }
    for (int i = 0; i < now->n_pointers; i++) {
        bool args = i == now->dispatch->n_buffers;
        const char *begin = now->pointers[i];
        size_t size = args ? now->dispatch->args_bytes : now->dispatch->buffers[i].n_bytes;
        long long past = p >= begin + size ? p - (begin + size) : p < begin ? begin - p : 0;
        if (past >= best) continue;
        best = past;
        snprintf(text, n_bytes, "%lld bytes %s buffer %d%s", past,
                 p >= begin + size ? "past the end of"
                 : p < begin       ? "before"
                                   : "off, inside",
                 i, args ? " (the args)" : "");
    }
}

void qn_emulator_fault_describe(char *text, size_t n_bytes)
{
    const qn_emulator_state *now = &qn_emulator_now;
    char where[128];
    if (now->signal == SIGFPE) {
        snprintf(text, n_bytes, "integer division by zero");
        return;
    }
    if (now->signal == SIGILL) {
        snprintf(text, n_bytes, "a check that the compiler built in failed (SIGILL)");
        return;
    }
    qn_emulator_where(now->fault_address, where, sizeof(where));
    snprintf(text, n_bytes, "fault at address %p, %s", now->fault_address, where);
}
