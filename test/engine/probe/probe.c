/*
 * probe is the witness of the tests: a process that says what a container
 * could read at its very first instruction.
 *
 *   probe [DIR [once|watch|hold|fail]]      (default: /run/secrets once)
 *
 * It is freestanding: no libc, no loader and no start-up code run before its
 * first line, which takes the time. It then reports, on stdout, every regular
 * file below DIR and every environment variable. A value itself is never
 * printed, only its length and hash: stdout ends in the engine's log, on the
 * disk that the tests search for plaintext.
 *
 *   once   exit with 0 after the report
 *   watch  look every 20 ms and report again when a file has changed; SIGTERM ends it
 *   hold   wait for SIGTERM
 *   fail   exit with 7 after the report
 *
 * One report, one line per fact; names are percent-encoded:
 *
 *   BEGIN n                       n counts reports from 1
 *   T0 ns                         CLOCK_MONOTONIC at the first instruction
 *   AT ns                         the same clock when this report was begun
 *   UID u / GID g                 of this process
 *   DATA target                   where DIR/..data points to, if it exists
 *   FILE name length mode uid gid hash
 *   UNREADABLE name errno         a file, a directory, or "." for DIR itself
 *   ENV name length hash
 *   WRITABLE 0|1                  whether a file could be made in DIR
 *   END n
 *
 * Lengths are decimal, modes octal, hashes the 64-bit FNV-1a in hexadecimal.
 * A report shows one generation of DIR: when ..data moves meanwhile, the
 * reading starts over.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64;

/*
 * The kernel's interface, as far as it is needed: linux/include/uapi. It is
 * written down here because a machine with only a compiler has no headers.
 */
#if defined(__x86_64__)
enum {
	sys_read = 0, sys_write = 1, sys_close = 3, sys_rt_sigprocmask = 14, sys_getuid = 102, sys_getgid = 104,
	sys_rt_sigtimedwait = 128, sys_getdents64 = 217, sys_clock_gettime = 228, sys_exit_group = 231,
	sys_openat = 257, sys_unlinkat = 263, sys_readlinkat = 267, sys_statx = 332,
	O_DIRECTORY = 0200000,
};
static long call(long n, long a, long b, long c, long d, long e)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return r;
}
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
enum {
	sys_unlinkat = 35, sys_openat = 56, sys_close = 57, sys_getdents64 = 61, sys_read = 63, sys_write = 64,
	sys_readlinkat = 78, sys_exit_group = 94, sys_clock_gettime = 113, sys_rt_sigprocmask = 135,
	sys_rt_sigtimedwait = 137, sys_getuid = 174, sys_getgid = 176, sys_statx = 291,
	O_DIRECTORY = 040000,
};
static long call(long n, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n");
#else
#error "the probe knows x86_64 and aarch64"
#endif

enum {
	AT_FDCWD = -100, AT_EMPTY_PATH = 0x1000, O_RDONLY = 0, O_WRONLY = 1, O_CREAT = 0100, O_EXCL = 0200, O_NONBLOCK = 04000,
	CLOCK_MONOTONIC = 1, SIG_BLOCK = 0, SIGTERM = 15, STATX_BASIC_STATS = 0x7ff,
	S_IFMT = 0170000, S_IFDIR = 040000, S_IFREG = 0100000,
	EINTR = 4, ENAMETOOLONG = 36, ELOOP = 40,
};
struct timespec { int64_t sec, nsec; };
struct statx {
	uint32_t mask, blksize;
	u64 attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare;
	u64 ino, size;
	unsigned char rest[256 - 48];
};
struct dirent {
	u64 ino;
	int64_t off;
	uint16_t reclen;
	unsigned char type;
	char name[];
};

/* EXIT_BROKEN is of no mode: it says that the probe itself could not do its work. */
enum { EXIT_BROKEN = 2, EXIT_FAIL = 7 };

__attribute__((noreturn)) static void quit(int code)
{
	for (;;)
		call(sys_exit_group, code, 0, 0, 0, 0);
}

static u64 now(void)
{
	struct timespec t;
	call(sys_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0, 0);
	return (u64)t.sec * 1000000000u + (u64)t.nsec;
}

static size_t length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void broken(const char *why)
{
	call(sys_write, 2, (long)why, (long)length(why), 0, 0);
	quit(EXIT_BROKEN);
}

/* FNV-1a, 64 bits. */
static const u64 fnv_offset = 0xcbf29ce484222325u;
static u64 fnv(u64 hash, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
	return hash;
}

/* The report under construction. */
static char out[1 << 20];
static size_t used;

static void put(char c)
{
	if (used == sizeof out)
		broken("probe: the report is too long\n");
	out[used++] = c;
}

static void text(const char *s)
{
	while (*s)
		put(*s++);
}

static void number(u64 n, unsigned base, int digits)
{
	char buf[24];
	int i = 0;
	for (; n || i < digits; n /= base)
		buf[i++] = "0123456789abcdef"[n % base];
	while (i)
		put(buf[--i]);
}

static void decimal(u64 n)
{
	put(' ');
	number(n, 10, 1);
}

/* name puts the first n bytes of s, percent-encoded, as one word. */
static void name(const char *s, size_t n)
{
	put(' ');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c > ' ' && c < 127 && c != '%') {
			put((char)c);
			continue;
		}
		put('%');
		number(c, 16, 2);
	}
}

static void flush(void)
{
	for (size_t done = 0; done < used;) {
		long n = call(sys_write, 1, (long)(out + done), (long)(used - done), 0, 0);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			broken("probe: cannot write to stdout\n");
		done += (size_t)n;
	}
}

static long open_at(long dir, const char *path, long flags)
{
	return call(sys_openat, dir, (long)path, flags, 0600, 0);
}

static void close_fd(long fd)
{
	call(sys_close, fd, 0, 0, 0, 0);
}

static void unreadable(const char *path, size_t n, long error)
{
	text("UNREADABLE");
	name(path, n);
	decimal((u64)-error);
	put('\n');
}

/* file reports the regular file that is open as fd. path is for the report. */
static void file(long fd, const struct statx *st, const char *path, size_t n)
{
	static char buf[1 << 16];
	u64 hash = fnv_offset, size = 0;
	long got;
	while ((got = call(sys_read, fd, (long)buf, sizeof buf, 0, 0)) > 0) {
		hash = fnv(hash, buf, (size_t)got);
		size += (u64)got;
	}
	if (got < 0) {
		unreadable(path, n, got);
		return;
	}
	text("FILE");
	name(path, n);
	decimal(size);
	put(' ');
	number(st->mode & 07777, 8, 4);
	decimal(st->uid);
	decimal(st->gid);
	put(' ');
	number(hash, 16, 16);
	put('\n');
}

/* The path of what is being read, relative to DIR. */
static char path[4096];

static void directory(long fd, size_t n, int depth);

/* entry reports what path[0..n) names, of which the last element is leaf in dir. */
static void entry(long dir, const char *leaf, size_t n, int depth)
{
	struct statx st;
	/* Without O_NONBLOCK, opening a FIFO would wait for a writer. */
	long fd = open_at(dir, leaf, O_RDONLY | O_NONBLOCK);
	if (fd < 0) {
		unreadable(path, n, fd);
		return;
	}
	long error = call(sys_statx, fd, (long)"", AT_EMPTY_PATH, STATX_BASIC_STATS, (long)&st);
	if (error < 0)
		unreadable(path, n, error);
	else if ((st.mode & S_IFMT) == S_IFREG)
		file(fd, &st, path, n);
	else if ((st.mode & S_IFMT) == S_IFDIR)
		directory(fd, n, depth + 1);
	close_fd(fd);
}

/* directory reports all that is below the directory open as fd, named path[0..n). */
static void directory(long fd, size_t n, int depth)
{
	char buf[4096] __attribute__((aligned(8)));
	long got;
	if (depth > 8) { /* a symlink that leads back up */
		unreadable(path, n, -ELOOP);
		return;
	}
	while ((got = call(sys_getdents64, fd, (long)buf, sizeof buf, 0, 0)) > 0) {
		for (long at = 0; at < got;) {
			struct dirent *e = (struct dirent *)(buf + at);
			size_t leaf = length(e->name), m = n;
			at += e->reclen;
			/* "..", and the generations that its links hide from a reader. */
			if ((e->name[0] == '.' && e->name[1] == '.') || equal(e->name, "."))
				continue;
			if (m + 1 + leaf > sizeof path) {
				unreadable(path, n, -ENAMETOOLONG);
				continue;
			}
			if (m)
				path[m++] = '/';
			for (size_t i = 0; i < leaf; i++)
				path[m++] = e->name[i];
			entry(fd, e->name, m, depth);
		}
	}
	if (got < 0)
		unreadable(path, n, got);
}

/* A generation is what DIR/..data points to; n is 0 where there is no such link. */
struct generation {
	char target[256];
	size_t n;
};

static void generation(long dir, struct generation *g)
{
	long n = call(sys_readlinkat, dir, (long)"..data", (long)g->target, sizeof g->target, 0);
	g->n = n > 0 ? (size_t)n : 0;
}

/*
 * content is a hash over all lines from start on, in whatever order, that
 * speak of files. The name of the generation is not content.
 */
static u64 content(size_t start)
{
	u64 sum = 0;
	for (size_t end = start; end < used; start = ++end) {
		while (out[end] != '\n')
			end++;
		if (out[start] != 'D')
			sum += fnv(fnv_offset, out + start, end - start);
	}
	return sum;
}

/* files reports the files of one generation of DIR and returns the hash of their content. */
static u64 files(const char *dir)
{
	struct generation before, after;
	size_t start = used;
	for (;;) {
		used = start;
		long fd = open_at(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
		if (fd < 0) {
			unreadable(".", 1, fd);
			break;
		}
		generation(fd, &before);
		if (before.n) {
			text("DATA");
			name(before.target, before.n);
			put('\n');
		}
		directory(fd, 0, 0);
		generation(fd, &after);
		close_fd(fd);
		if (before.n == after.n && fnv(fnv_offset, before.target, before.n) == fnv(fnv_offset, after.target, after.n))
			break;
	}
	return content(start);
}

static void environment(char **env)
{
	for (; *env; env++) {
		size_t n = 0, all = length(*env);
		while (n < all && (*env)[n] != '=')
			n++;
		const char *value = *env + n + (n < all);
		text("ENV");
		name(*env, n);
		decimal(length(value));
		put(' ');
		number(fnv(fnv_offset, value, length(value)), 16, 16);
		put('\n');
	}
}

/* writable tries to make a file in DIR and takes it away again. */
static int writable(const char *dir)
{
	static const char trial[] = "..probe-was-here";
	long in = open_at(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
	if (in < 0)
		return 0;
	long fd = open_at(in, trial, O_WRONLY | O_CREAT | O_EXCL);
	if (fd >= 0) {
		close_fd(fd);
		call(sys_unlinkat, in, (long)trial, 0, 0, 0);
	}
	close_fd(in);
	return fd >= 0;
}

static void fact(const char *key, u64 value)
{
	text(key);
	decimal(value);
	put('\n');
}

/*
 * report prints report n and returns the hash of its files, unless that is
 * seen already.
 */
static u64 report(u64 n, u64 t0, const char *dir, char **env, u64 seen)
{
	used = 0;
	fact("BEGIN", n);
	fact("T0", t0);
	fact("AT", now());
	fact("UID", (u64)call(sys_getuid, 0, 0, 0, 0, 0));
	fact("GID", (u64)call(sys_getgid, 0, 0, 0, 0, 0));
	u64 hash = files(dir);
	if (n > 1 && hash == seen)
		return seen;
	environment(env);
	fact("WRITABLE", (u64)writable(dir));
	fact("END", n);
	flush();
	return hash;
}

/*
 * term waits for SIGTERM, which is blocked, and says whether it came. The
 * kernel keeps a blocked signal even for the first process of a container,
 * to which it would otherwise not deliver one that has no handler.
 */
static int term(const struct timespec *patience)
{
	u64 set = 1u << (SIGTERM - 1);
	return call(sys_rt_sigtimedwait, (long)&set, 0, (long)patience, sizeof set, 0) == SIGTERM;
}

static void watch(u64 t0, const char *dir, char **env, u64 seen)
{
	const struct timespec pause = {0, 20 * 1000 * 1000};
	for (u64 n = 2; !term(&pause);) {
		u64 hash = report(n, t0, dir, env, seen);
		if (hash == seen)
			continue;
		seen = hash;
		n++;
	}
}

/* begin is where _start jumps to, with the stack as the kernel made it: argc, argv, environment. */
__attribute__((noreturn, used)) void begin(long *stack)
{
	u64 t0 = now();
	long argc = stack[0];
	char **argv = (char **)(stack + 1), **env = argv + argc + 1;
	const char *dir = argc > 1 ? argv[1] : "/run/secrets", *mode = argc > 2 ? argv[2] : "once";
	u64 set = 1u << (SIGTERM - 1);
	call(sys_rt_sigprocmask, SIG_BLOCK, (long)&set, 0, sizeof set, 0);

	int to_watch = equal(mode, "watch"), to_hold = equal(mode, "hold"), to_fail = equal(mode, "fail");
	if (!to_watch && !to_hold && !to_fail && !equal(mode, "once"))
		broken("probe: usage: probe [DIR [once|watch|hold|fail]]\n");
	u64 seen = report(1, t0, dir, env, 0);
	if (to_watch)
		watch(t0, dir, env, seen);
	while (to_hold && !term(NULL))
		;
	quit(to_fail ? EXIT_FAIL : 0);
}
