/* C3 and C4: io_uring, without a library. */
#include "escape.h"
#include <linux/io_uring.h>

enum { ENTRIES = 8, INHERITED = 9, MEMORY = 8, OUTSIDE = 7 };

/* What a ring's kernel thread sends: in its creator's memory. */
struct mail {
	struct sockaddr_in name;
	struct iovec data;
	struct msghdr m;
	char text[8];
};

static struct mail *const there = (struct mail *)0x200000000000;

struct ring {
	int fd;
	uint32_t tail, mask, array; /* offsets */
};

static int make(struct ring *r)
{
	struct io_uring_params p = {};
	r->fd = syscall(SYS_io_uring_setup, ENTRIES, &p);
	r->tail = p.sq_off.tail;
	r->mask = p.sq_off.ring_mask;
	r->array = p.sq_off.array;
	return r->fd;
}

static void submit(const struct ring *r, const struct io_uring_sqe *sqe)
{
	char *sq = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes = mmap(NULL, ENTRIES * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || sqes == MAP_FAILED) {
		note("mmap of a ring: %m");
		return;
	}
	uint32_t *tail = (uint32_t *)(sq + r->tail), at = *tail & *(uint32_t *)(sq + r->mask);
	sqes[at] = *sqe;
	((uint32_t *)(sq + r->array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP, NULL, 0) < 0)
		note("io_uring_enter: %m");
	munmap(sq, 4096);
	munmap(sqes, ENTRIES * sizeof *sqes);
}

static void use(const struct ring *r, const struct target *to)
{
	struct sockaddr_in name = to->v4;
	struct iovec data = { "trick", 5 };
	struct msghdr m = { .msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &data, .msg_iovlen = 1 };
	int u = udp(AF_INET), t = tcp(AF_INET);
	struct io_uring_sqe out = { .opcode = IORING_OP_SENDMSG, .fd = u, .addr = (uintptr_t)&m, .len = 1 };
	struct io_uring_sqe connect = { .opcode = IORING_OP_CONNECT, .fd = t, .addr = (uintptr_t)&name, .off = sizeof name };
	submit(r, &out);
	submit(r, &connect);
	send(t, "trick", 5, MSG_NOSIGNAL);
	close(u);
	close(t);
}

void c3_ring(const struct target *to)
{
	struct ring r;
	if (make(&r) < 0) {
		note("io_uring_setup: %m");
		return;
	}
	use(&r, to);
	close(r.fd);
}

/* Makes a ring and becomes another program, which inherits it. */
void ring_parent(char **argv)
{
	struct ring r;
	char text[64];
	if (make(&r) < 0) {
		perror("io_uring_setup");
		exit(3);
	}
	dup2(r.fd, INHERITED); /* without close-on-exec */
	snprintf(text, sizeof text, "%u %u %u", r.tail, r.mask, r.array);
	setenv("ESCAPE_RING", text, 1);
	execv(argv[0], argv);
	exit(3);
}

void c4_inherited_ring(const struct target *to)
{
	struct ring r = { .fd = INHERITED };
	const char *text = getenv("ESCAPE_RING");
	if (!text || sscanf(text, "%u %u %u", &r.tail, &r.mask, &r.array) != 3 || fcntl(INHERITED, F_GETFD) < 0) {
		dprintf(1, "BROKEN no ring was inherited\n");
		return;
	}
	use(&r, to);
}

/* Makes a ring with a kernel thread, a socket for it, and memory that it shares
 * with the program that it starts. */
void ring_keeper(char **argv)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 60000 };
	char text[64];
	dup2(udp(AF_INET), OUTSIDE);
	fcntl(OUTSIDE, F_SETFD, FD_CLOEXEC);
	dup2(syscall(SYS_memfd_create, "mail", 0), MEMORY);
	if (ftruncate(MEMORY, 4096) != 0 || mmap(there, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, MEMORY, 0) == MAP_FAILED)
		exit(3);
	int fd = syscall(SYS_io_uring_setup, ENTRIES, &p);
	if (fd < 0) {
		perror("io_uring_setup");
		exit(3);
	}
	dup2(fd, INHERITED);
	/* The thread stays awake for a while only after it had something to do. */
	struct ring r = { fd, p.sq_off.tail, p.sq_off.ring_mask, p.sq_off.array };
	submit(&r, &(struct io_uring_sqe){ .opcode = IORING_OP_NOP });
	snprintf(text, sizeof text, "%u %u %u %u", p.sq_off.tail, p.sq_off.ring_mask, p.sq_off.array, p.cq_off.tail);
	setenv("ESCAPE_RING", text, 1);
	pid_t pid = fork();
	if (pid == 0) {
		execv(argv[0], argv);
		_exit(3);
	}
	waitpid(pid, NULL, 0);
	exit(0);
}

void c5_ring_thread(const struct target *to)
{
	struct ring r = { .fd = INHERITED };
	unsigned done;
	const char *text = getenv("ESCAPE_RING");
	if (!text || sscanf(text, "%u %u %u %u", &r.tail, &r.mask, &r.array, &done) != 4) {
		dprintf(1, "BROKEN no ring was inherited\n");
		return;
	}
	struct mail *mail = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, MEMORY, 0);
	char *sq = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes = mmap(NULL, ENTRIES * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, IORING_OFF_SQES);
	if (mail == MAP_FAILED || sq == MAP_FAILED || sqes == MAP_FAILED) {
		note("mmap of a ring: %m");
		return;
	}
	*mail = (struct mail){ .name = to->v4, .data = { there->text, 5 }, .text = "trick",
		.m = { .msg_name = &there->name, .msg_namelen = sizeof there->name, .msg_iov = &there->data, .msg_iovlen = 1 } };
	uint32_t *tail = (uint32_t *)(sq + r.tail), at = *tail & *(uint32_t *)(sq + r.mask);
	uint32_t *completed = (uint32_t *)(sq + done), before = *completed;
	sqes[at] = (struct io_uring_sqe){ .opcode = IORING_OP_SENDMSG, .fd = OUTSIDE, .addr = (uintptr_t)&there->m, .len = 1 };
	((uint32_t *)(sq + r.array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	for (long i = 0; i < 3000 && __atomic_load_n(completed, __ATOMIC_ACQUIRE) == before; i++)
		usleep(1000); /* it may have no processor yet */
	if (*completed == before)
		note("the ring's thread has done nothing");
}
