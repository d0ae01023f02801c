/* A1 to A4, A8 to A10: something changes while a call is looked at. The long
 * runs are the race harness's; here are some thousand tries. */
#include "escape.h"
#include <signal.h>
#include <sys/stat.h>

#ifndef TRIES
#define TRIES 3000 /* contrib/kernels wants fewer: each takes longer there */
#endif
enum { CHANGES = 300, MOST = 100000, SWAPPED = 60 };

static int running;
static long changes;

/* Calls change with 0 and 1 in turn until it is told to end. */
static void *changer(void *arg)
{
	void (*change)(int) = (void (*)(int))(uintptr_t)arg;
	for (int i = 0; __atomic_load_n(&running, __ATOMIC_ACQUIRE); i ^= 1) {
		change(i);
		__atomic_add_fetch(&changes, 1, __ATOMIC_RELAXED);
		sched_yield();
	}
	return NULL;
}

/* Tries while another thread changes what is tried. */
static void race(void (*change)(int), void (*attempt)(int), int tries)
{
	pthread_t t;
	changes = 0;
	running = 1;
	pthread_create(&t, NULL, changer, (void *)(uintptr_t)change);
	for (int i = 0; i < tries || (i < MOST && __atomic_load_n(&changes, __ATOMIC_RELAXED) < CHANGES); i++)
		attempt(i);
	__atomic_store_n(&running, 0, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	note("%ld changes", changes);
	change(1);
	attempt(1);
}

static const struct target *aim;
static struct sockaddr_in shared;
static int dgram, local;
static struct msghdr header;
static struct iovec text = { "trick", 5 };

static void change_port(int i) { *(volatile in_port_t *)&shared.sin_port = i ? aim->v4.sin_port : allowed.v4.sin_port; }

static void send_shared(int i)
{
	struct msghdr m = { .msg_name = &shared, .msg_namelen = sizeof shared, .msg_iov = &text, .msg_iovlen = 1 };
	if (i % 3 == 0)
		sendmsg(dgram, &m, 0);
	else
		send_to(dgram, SA(shared));
	if (i % 100 == 0)
		connect_to(tcp(AF_INET), SA(shared));
	if (i % 100 == 1)
		connect_to(udp(AF_INET), SA(shared));
}

void a1_address(const struct target *to)
{
	aim = to;
	shared = allowed.v4;
	dgram = udp(AF_INET);
	race(change_port, send_shared, to == &allowed ? 100 : TRIES);
	close(dgram);
}

static void change_fd(int i) { dup2(i ? dgram : local, SWAPPED); }

static void send_swapped(int i)
{
	send_to(SWAPPED, SA(shared));
	if (i % 100 == 0 && connect(SWAPPED, (struct sockaddr *)SA(shared)) == 0) {
		send(SWAPPED, "trick", 5, MSG_NOSIGNAL);
		connect(dgram, &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr));
	}
}

static void swap(const struct target *to, void (*change)(int))
{
	aim = to;
	shared = to->v4;
	dgram = udp(AF_INET);
	local = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	dup2(local, SWAPPED);
	race(change, send_swapped, to == &allowed ? 100 : TRIES);
	close(dgram);
	close(local);
	close(SWAPPED);
}

void a2_descriptor(const struct target *to) { swap(to, change_fd); }

static void change_family(int i)
{
	*(volatile sa_family_t *)&shared.sin_family = i ? AF_INET : AF_UNIX;
	change_fd(i);
}

void a3_family(const struct target *to) { swap(to, change_family); }

static void change_header(int i)
{
	*(volatile socklen_t *)&header.msg_namelen = i ? sizeof shared : 0;
	*(void *volatile *)&header.msg_name = i ? &shared : NULL;
}

static void send_header(int i)
{
	struct mmsghdr m;
	if (i % 2) {
		sendmsg(dgram, &header, 0);
		return;
	}
	m.msg_hdr = header;
	sendmmsg(dgram, &m, 1, 0);
}

void a4_header(const struct target *to)
{
	shared = to->v4;
	header = (struct msghdr){ .msg_iov = &text, .msg_iovlen = 1 };
	dgram = udp(AF_INET);
	connect(dgram, (struct sockaddr *)SA(allowed.v4));
	race(change_header, send_header, to == &allowed ? 100 : TRIES);
	close(dgram);
}

/* A process is killed in a call, and the next one has its number, and what it
 * may send to at the same address. Needs a pid namespace of its own. */
static int process(int number, const struct sockaddr_in *name, volatile int *ready)
{
	char text[32];
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
	int n = snprintf(text, sizeof text, "%d", number - 1);
	if (write(fd, text, n) != n)
		dprintf(1, "BROKEN ns_last_pid: %s\n", strerror(errno));
	close(fd);
	shared = *name;
	pid_t pid = fork();
	if (pid == 0) {
		*ready = 1;
		for (;;) {
			send_to(dgram, SA(shared));
			sched_yield();
		}
	}
	return pid;
}

void a8_number(const struct target *to)
{
	enum { ROUNDS = 150 };
	volatile int *ready = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int again = 0, number = 10000;
	pid_t last = 0;
	if (to == &allowed)
		return;
	dgram = udp(AF_INET);
	for (int i = 0; i < ROUNDS; i++) {
		*ready = 0;
		pid_t pid = process(number, i % 2 ? &to->v4 : &allowed.v4, ready);
		if (pid < 0)
			break;
		again += pid == last;
		last = pid;
		if (pid != number)
			number += 100; /* a thread of somebody else has that one */
		while (!*ready)
			sched_yield();
		usleep(i % 7 * 50);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	note("%d of %d processes had the same number", again, ROUNDS);
	if (again < ROUNDS / 2)
		dprintf(1, "BROKEN numbers are not used again\n");
	close(dgram);
}

static char link_name[200], next_name[200], own_name[200], broker_name[200];

static void change_link(int i)
{
	unlink(next_name);
	symlink(i ? broker_name : own_name, next_name);
	rename(next_name, link_name);
}

static void dial_link(int i)
{
	(void)i;
	close(dial(link_name));
	int c = accept(local, NULL, NULL);
	close(c);
}

void a9_path(const struct target *to)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (to == &allowed)
		return;
	snprintf(own_name, sizeof own_name, "%s/own", getenv("HOME"));
	snprintf(link_name, sizeof link_name, "%s/link", getenv("HOME"));
	snprintf(next_name, sizeof next_name, "%s/next", getenv("HOME"));
	snprintf(broker_name, sizeof broker_name, "%s", getenv("ESCAPE_PATHS"));
	unlink(own_name);
	local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	strcpy(a.sun_path, own_name);
	if (bind(local, (struct sockaddr *)SA(a)) != 0 || listen(local, 100) != 0)
		dprintf(1, "BROKEN own socket: %s\n", strerror(errno));
	change_link(0);
	race(change_link, dial_link, 1000);
	close(local);
	unlink(link_name);
	unlink(own_name);
}

/* What was approved on a number says nothing of what has it later. */
static void reuse(const struct target *to)
{
	int s = udp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	dup2(s, SWAPPED);
	close(s);
	send(SWAPPED, "trick", 5, 0);
	dup2(udp(AF_INET), SWAPPED);
	send_to(SWAPPED, SA(to->v4));
	s = tcp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	dup2(s, SWAPPED);
	close(s);
	dup2(tcp(AF_INET), SWAPPED);
	connect_to(SWAPPED, SA(to->v4));
	dup2(udp(AF_INET), SWAPPED);
	send_to(SWAPPED, SA(allowed.v4));
	syscall(SYS_close_range, SWAPPED, SWAPPED, 0);
	dup2(udp(AF_INET), SWAPPED);
	send_to(SWAPPED, SA(to->v4));
}

void a10_reuse(const struct target *to)
{
	char port[16], allowed_port[16];
	reuse(to);
	if (getenv("ESCAPE_AGAIN")) /* the program that comes after exec */
		return;
	pid_t pid = fork();
	if (pid == 0) {
		snprintf(port, sizeof port, "%d", to->port);
		snprintf(allowed_port, sizeof allowed_port, "%d", allowed.port);
		dup2(udp(AF_INET), SWAPPED);
		connect(SWAPPED, (struct sockaddr *)SA(allowed.v4));
		setenv("ESCAPE_AGAIN", "1", 1);
		execl(getenv("ESCAPE_SELF"), "escape", "again", allowed_port, port, NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

/* The program that has come after exec, with the descriptor of the one before. */
void again(const struct target *to)
{
	send_to(SWAPPED, SA(to->v4));
	reuse(to);
}
