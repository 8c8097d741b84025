/* Loaded with LD_PRELOAD, this makes a kernel that knows SEM_UNDO and does not do it, as some emulations of Linux are. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 500 }; /* operations that one call takes (SEMOPM) */

int semtimedop(int set, struct sembuf *ops, size_t count, const struct timespec *timeout)
{
    struct sembuf copy[MOST];
    if (count > MOST) {
        errno = E2BIG;
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        copy[i] = ops[i];
        copy[i].sem_flg = (short)(copy[i].sem_flg & ~SEM_UNDO);
    }
    return (int)syscall(SYS_semtimedop, set, copy, count, timeout);
}

int semop(int set, struct sembuf *ops, size_t count)
{
    return semtimedop(set, ops, count, NULL);
}
