/* get KEY: the third of the tutorials' four programs. Prints the text. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int id = shmget((key_t)strtoul(argv[1], NULL, 0), 0, 0);
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
    return 0;
}
