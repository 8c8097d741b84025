/* create KEY SIZE: the first of the tutorials' four programs. Prints the id. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    key_t key = (key_t)strtoul(argv[1], NULL, 0);
    int id = shmget(key, strtoul(argv[2], NULL, 0), 0600 | IPC_CREAT | IPC_EXCL);
    if (id == -1) {
        perror("shmget");
        return 1;
    }
    printf("%d\n", id);
    return 0;
}
