/* Two lies for a program that is started with LD_PRELOAD: that it is GC_LATER seconds later than it is, and, with
   GC_FORBID set, that semaphore sets may not be removed. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    long result = syscall(SYS_clock_gettime, clock, time);
    const char *later = getenv("GC_LATER");
    if (result == 0 && clock == CLOCK_REALTIME && later != NULL)
        time->tv_sec += atol(later);
    return (int)result;
}

int semctl(int set, int index, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == IPC_RMID && getenv("GC_FORBID") != NULL) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_semctl, set, index, command, argument);
}
