// Fibers: their stacks and the switch between them. ucontext's switch makes a system call; this one is a dozen
// instructions for x86-64 and aarch64. All fibers run on the thread that called qn_emulator_run_concurrent.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "tsan.h"

// Saves the callee-saved registers and the stack pointer to *save_sp, then takes those at load_sp.
void qn_emulator_switch(void **save_sp, void *load_sp);

#if defined(__x86_64__)
enum { SAVED_WORDS = 8 }; // six registers, the return address, one word of alignment
__asm__(".text\n.globl qn_emulator_switch\n.type qn_emulator_switch, @function\n"
        "qn_emulator_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size qn_emulator_switch, .-qn_emulator_switch\n");
enum { RETURN_WORD = 6 };
#elif defined(__aarch64__)
enum { SAVED_WORDS = 20 }; // x19 to x30, d8 to d15
__asm__(".text\n.globl qn_emulator_switch\n.type qn_emulator_switch, %function\n"
        "qn_emulator_switch:\n"
        "sub sp, sp, #160\n"
        "stp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\n"
        "stp x25, x26, [sp, #48]\nstp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\n"
        "stp d14, d15, [sp, #144]\n"
        "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
        "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\n"
        "ldp x25, x26, [sp, #48]\nldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\n"
        "ldp d14, d15, [sp, #144]\n"
        "add sp, sp, #160\nret\n"
        ".size qn_emulator_switch, .-qn_emulator_switch\n");
enum { RETURN_WORD = 11 };
#else
#error "the emulator knows x86-64 and aarch64"
#endif

int qn_emulator_fibers_prepare(uint32_t n_threads)
{
    size_t guard = QN_EMULATOR_STACK_GUARD, whole = QN_EMULATOR_STACK + guard;
    for (uint32_t i = 0; i < n_threads; i++) {
        qn_emulator_fiber *f = &qn_emulator_now.fibers[i];
        if (f->stack) continue;
        char *block = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (block == MAP_FAILED) return -1;
        mprotect(block, guard, PROT_NONE); // an overflow faults, by a large frame too
        f->stack = block + guard;
        f->stack_top = block + whole;
        f->lowest_sp = f->stack_top;
    }
    return 0;
}

static void enter(void)
{
    qn_emulator_call_kernel();
    qn_emulator_tsan_release(&qn_emulator_now.sync_end);
    qn_emulator_fiber_wait(QN_EMULATOR_RETURNED);
}

void qn_emulator_fiber_start(qn_emulator_fiber *f)
{
    enum { MARGIN = 2 << 10 }; // frames of calls between two waits, which lowest_sp has not seen
    char *used = f->lowest_sp - MARGIN < f->stack ? f->stack : f->lowest_sp - MARGIN;
    qn_emulator_tsan_forget(used, (size_t)(f->stack_top - used));
    void **sp = (void **)f->stack_top - SAVED_WORDS;
    memset(sp, 0, SAVED_WORDS * sizeof(*sp));
    sp[RETURN_WORD] = (void *)(uintptr_t)enter;
    f->sp = sp;
    f->state = QN_EMULATOR_READY;
    f->generation[0] = f->generation[1] = 0;
    f->tsan = qn_emulator_tsan_create();
}

// TSan reports a race only while it remembers what the other fiber did, and it forgets ended ones soon. So they end late:
// up to this many live on after their threadgroup (TSan has room for 8,128).
enum { N_REMEMBERED = 6000 };
static void *remembered[N_REMEMBERED];
static uint32_t n_ended;

void qn_emulator_fiber_end(qn_emulator_fiber *f)
{
    void **place = &remembered[n_ended++ % N_REMEMBERED];
    if (*place) qn_emulator_tsan_destroy(*place);
    *place = f->tsan;
    f->tsan = NULL;
}

void qn_emulator_fibers_forget(void)
{
    for (uint32_t i = 0; i < N_REMEMBERED && i < n_ended; i++) {
        if (remembered[i]) qn_emulator_tsan_destroy(remembered[i]);
        remembered[i] = NULL;
    }
    n_ended = 0;
}

void qn_emulator_fiber_resume(qn_emulator_fiber *f)
{
    qn_emulator_now.current = f;
    qn_emulator_now.n_switches++;
    qn_emulator_tsan_switch(f->tsan);
    qn_emulator_switch(&qn_emulator_now.scheduler_sp, f->sp);
    if ((char *)f->sp < f->lowest_sp && (char *)f->sp >= f->stack) f->lowest_sp = f->sp;
}

void qn_emulator_fiber_wait(qn_emulator_fiber_state state)
{
    qn_emulator_fiber *f = qn_emulator_now.current;
    f->state = state;
    qn_emulator_tsan_switch(qn_emulator_now.scheduler_tsan);
    qn_emulator_switch(&f->sp, qn_emulator_now.scheduler_sp);
}
