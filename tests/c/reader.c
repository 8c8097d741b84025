/* A reader as the tutorials have it: reader KEY. Prints the text under the key. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    key_t key = (key_t)strtoul(argv[1], NULL, 0);
    int id = shmget(key, 1024, 0666);
    if (id == -1) {
        perror("shmget");
        return 1;
    }
    const char *text = shmat(id, NULL, SHM_RDONLY);
    if (text == (const char *)-1) {
        perror("shmat");
        return 1;
    }
    printf("%s\n", text);
    shmdt(text);
    return 0;
}
