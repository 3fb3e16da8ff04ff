// Ctrl-C; see app.h.
#include <signal.h>

#include "app/app.h"

volatile int qn_app_interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    qn_app_interrupted = 1;
}

void qn_app_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    qn_app_interrupted = 0;
    sigaction(SIGINT, &action, NULL);
}
