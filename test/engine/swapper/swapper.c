/*
 * swapper exchanges two paths, over and over, as fast as it can: whoever looks
 * at one of them and then goes there is likely to come to the other.
 *
 *   swapper PATH OTHER
 *
 * It says "ready" when it begins. An exchange may fail: a directory at which
 * something is mounted cannot be renamed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXCHANGE = 1 << 1 }; /* RENAME_EXCHANGE of linux/fs.h */

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: swapper PATH OTHER\n");
		return 2;
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		syscall(SYS_renameat2, AT_FDCWD, argv[1], AT_FDCWD, argv[2], EXCHANGE);
}
