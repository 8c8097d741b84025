/* put KEY TEXT: the second of the tutorials' four programs. Does not detach: its end does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int id = shmget((key_t)strtoul(argv[1], NULL, 0), 0, 0);
    if (id == -1) {
        perror("shmget");
        return 1;
    }
    char *text = shmat(id, NULL, 0);
    if (text == (char *)-1) {
        perror("shmat");
        return 1;
    }
    strcpy(text, argv[2]);
    return 0;
}
