/*
 * reader looks for torn reads: it reads a set of files again and again, as
 * fast as it can beside those who work, until SIGTERM.
 *
 *   reader DIR FILE...
 *
 * Whoever writes the files gives each set a number, and fills every file of
 * the set with that number, in lines of sixteen bytes. So each file says which
 * set it belongs to, and whether it is whole. The reader reads in both ways
 * that applications have:
 *
 *   at once   it opens DIR/..data, and all files from there: they must be of
 *             one set
 *   by path   it opens the files one by one, and the first again: if that one
 *             is as it was, no swap came between, and all must be of one set
 *
 * A generation that a slow reader stands in may be gone before it has opened
 * all: then it starts over, as an application does that is told ENOENT. At the
 * end it prints one line:
 *
 *   reads R sets S again A mixtures M broken B
 *
 * R sets were read, S times another one than before; A reads were started
 * over; M were of two sets; B files were not whole. It exits with 0 if M and B
 * are 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 16, LARGEST = 1 << 17, MOST = 8 };

static volatile sig_atomic_t ended;
static unsigned long reads, sets, again, mixtures, broken;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* Reads the number of one file into line. What is not a whole file of one set counts as broken. */
static int number(int dir, const char *name, char *line)
{
	static char text[LARGEST];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n, length = 0;
	while ((n = read(fd, text + length, sizeof text - length)) > 0)
		length += n;
	close(fd);
	if (n < 0)
		return -1;
	int whole = length >= LINE && length % LINE == 0;
	for (ssize_t at = LINE; whole && at < length; at += LINE)
		whole = memcmp(text, text + at, LINE) == 0;
	if (!whole) {
		broken++;
		return -1;
	}
	memcpy(line, text, LINE);
	return 0;
}

/* Reads the files of one set into lines, and the first once more if twice is set. */
static int set(int dir, char **names, int n, int twice, char lines[][LINE])
{
	for (int i = 0; i < n; i++)
		if (number(dir, names[i], lines[i]) < 0)
			return -1;
	return twice ? number(dir, names[0], lines[n]) : 0;
}

static void judge(char lines[][LINE], int n, char *last)
{
	reads++;
	for (int i = 1; i < n; i++) {
		if (memcmp(lines[0], lines[i], LINE) != 0) {
			mixtures++;
			return;
		}
	}
	if (memcmp(lines[0], last, LINE) != 0)
		sets++;
	memcpy(last, lines[0], LINE);
}

int main(int argc, char **argv)
{
	char lines[MOST + 1][LINE], last[LINE] = "";
	char **names = argv + 2;
	int n = argc - 2, dir = argc > 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir < 0 || n > MOST) {
		fprintf(stderr, "usage: reader DIR FILE...: %s\n", strerror(errno));
		return 2;
	}
	signal(SIGTERM, end);
	if (nice(10) < 0) /* many readers must not starve the one who writes */
		return 2;
	while (!ended) {
		int at = openat(dir, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (at >= 0 && set(at, names, n, 0, lines) == 0)
			judge(lines, n, last);
		else
			again++;
		if (at >= 0)
			close(at);
		if (set(dir, names, n, 1, lines) < 0)
			again++;
		else if (memcmp(lines[0], lines[n], LINE) == 0)
			judge(lines, n, last);
	}
	printf("reads %lu sets %lu again %lu mixtures %lu broken %lu\n", reads, sets, again, mixtures, broken);
	return mixtures || broken ? 1 : 0;
}
