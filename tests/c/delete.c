/* delete KEY: the last of the tutorials' four programs. Prints the kernel's record of the segment
 * in numbers, then removes it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int argc, char **argv)
{
    struct shmid_ds ds;

    if (argc != 2)
        return 2;
    int id = shmget((key_t)strtoul(argv[1], NULL, 0), 0, 0);
    if (id == -1) {
        perror("shmget");
        return 1;
    }
    if (shmctl(id, IPC_STAT, &ds) == -1) {
        perror("shmctl");
        return 1;
    }
    printf("%d %d %zu %u %u %u %u %u %lu %ld %ld %ld %d %d\n", id, (int)ds.shm_perm.__key,
           ds.shm_segsz, ds.shm_perm.mode & 0777u, ds.shm_perm.uid, ds.shm_perm.gid,
           ds.shm_perm.cuid, ds.shm_perm.cgid, (unsigned long)ds.shm_nattch, (long)ds.shm_atime,
           (long)ds.shm_dtime, (long)ds.shm_ctime, (int)ds.shm_cpid, (int)ds.shm_lpid);
    if (shmctl(id, IPC_RMID, NULL) == -1) {
        perror("shmctl");
        return 1;
    }
    return 0;
}
