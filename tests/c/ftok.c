/* ftok FILE ID: prints the key that the C library makes of them. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    key_t key = ftok(argv[1], atoi(argv[2]));
    if (key == -1) {
        perror("ftok");
        return 1;
    }
    printf("%d\n", (int)key);
    return 0;
}
