//go:build cgo && sdcpp

// What happens when a mapped model file is cut short: the kernel sends SIGBUS to the
// thread that reads what is gone. The values are lost and the thread cannot go on, so
// the process ends, but with a sentence instead of the stacks of all goroutines.

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

static struct sigaction before;

static void explain(int sig, siginfo_t* info, void* context) {
    if (info->si_code != BUS_ADRERR) { // not of a file: the Go runtime knows more
        if (before.sa_flags & SA_SIGINFO) {
            before.sa_sigaction(sig, info, context);
        }
        return;
    }
    static const char sentence[] = SDW_ABORT_PREFIX "a model file was cut short while it was in use\n";
    ssize_t written              = write(STDERR_FILENO, sentence, sizeof sentence - 1);
    (void)written; // nothing else can be done here
    _exit(1);
}

void sdw_explain_bus_errors(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = explain;
    action.sa_flags     = SA_SIGINFO | SA_ONSTACK; // the stacks of goroutines are small
    sigfillset(&action.sa_mask);
    sigaction(SIGBUS, &action, &before);
}
