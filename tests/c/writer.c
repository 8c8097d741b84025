/* A writer as the tutorials have it: writer KEY. Leaves a text in 1,024 bytes under the key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    key_t key = (key_t)strtoul(argv[1], NULL, 0);
    int id = shmget(key, 1024, 0666 | IPC_CREAT);
    if (id == -1) {
        perror("shmget");
        return 1;
    }
    char *text = shmat(id, NULL, 0);
    if (text == (char *)-1) {
        perror("shmat");
        return 1;
    }
    strcpy(text, "Hello, Shared Memory!");
    shmdt(text);
    return 0;
}
