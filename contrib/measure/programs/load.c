// load does the work that is measured. It reads lines "WORK COUNT [ADDRESS
// [MORE...]]", does WORK so often, and answers each with the nanoseconds that
// took: a process is started once and measured many times, in turns with others.
// ADDRESS is IPV4:PORT. "load serve" is what there is at the other end.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void die(const char *what) {
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

#define must(x) ({ __typeof__(x) r_ = (x); if (r_ < 0) die(#x); r_; })

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int udp(void) { return must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }

typedef struct sockaddr_in in4;
typedef struct work { long n; in4 to; char **more; } work; // more: the words after the address

static long number(work *w, int i) { return atol(w->more[i]); }

static void getppids(work *w) {
	for (long i = 0; i < w->n; i++) syscall(SYS_getppid);
}

static void reads(work *w) {
	uint64_t b;
	int fd = must(eventfd(1, EFD_SEMAPHORE));
	uint64_t many = w->n;
	must(write(fd, &many, 8));
	for (long i = 0; i < w->n; i++) must(read(fd, &b, 8));
	close(fd);
}

static void writes(work *w) {
	uint64_t one = 1;
	int fd = must(eventfd(0, 0));
	for (long i = 0; i < w->n; i++) must(write(fd, &one, 8));
	close(fd);
}

static void futexes(work *w) {
	uint32_t word = 0;
	for (long i = 0; i < w->n; i++) syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void epolls(work *w) {
	int ep = must(epoll_create1(0)), fd = must(eventfd(1, 0));
	struct epoll_event e = {.events = EPOLLIN};
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	for (long i = 0; i < w->n; i++) must(epoll_wait(ep, &e, 1, -1));
	close(fd);
	close(ep);
}

static void udp_connect(work *w) {
	int fd = udp();
	for (long i = 0; i < w->n; i++) must(connect(fd, (void *)&w->to, sizeof w->to));
	close(fd);
}

static void tcp_once(in4 *to) {
	int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	must(connect(fd, (void *)to, sizeof *to));
	close(fd);
}

static void *tcp_thread(void *arg) {
	work *w = arg;
	for (long i = 0; i < w->n; i++) tcp_once(&w->to);
	return NULL;
}

// tcp: MORE is the number of threads, among which the count is divided.
static void tcp(work *w) {
	long threads = number(w, 0);
	work each = {w->n / threads, w->to};
	pthread_t t[64];
	if (threads == 1) {
		tcp_thread(&each);
		return;
	}
	for (long i = 0; i < threads; i++) pthread_create(&t[i], NULL, tcp_thread, &each);
	for (long i = 0; i < threads; i++) pthread_join(t[i], NULL);
}

static char data[64 << 10];

static void sendtos(work *w) {
	int fd = udp();
	for (long i = 0; i < w->n; i++) must(sendto(fd, data, 100, 0, (void *)&w->to, sizeof w->to));
	close(fd);
}

// first sends until that is allowed: a guard that drops packets says so to the
// first ones, while it is being told of the address.
static void first(int fd, struct msghdr *m) {
	for (int i = 0; i < 1000 && sendmsg(fd, m, 0) < 0; i++) usleep(1000);
}

static void sendmsgs(work *w) {
	int fd = udp();
	struct iovec v = {data, 100};
	struct msghdr m = {.msg_name = &w->to, .msg_namelen = sizeof w->to, .msg_iov = &v, .msg_iovlen = 1};
	first(fd, &m);
	for (long i = 0; i < w->n; i++) must(sendmsg(fd, &m, 0));
	close(fd);
}

static void sendmmsgs(work *w) {
	int fd = udp();
	struct iovec v[64];
	struct mmsghdr m[64];
	memset(m, 0, sizeof m);
	for (int i = 0; i < 64; i++) {
		v[i] = (struct iovec){data, 100};
		m[i].msg_hdr = (struct msghdr){.msg_name = &w->to, .msg_namelen = sizeof w->to, .msg_iov = &v[i], .msg_iovlen = 1};
	}
	first(fd, &m->msg_hdr);
	for (long i = 0; i < w->n; i++)
		if (must(sendmmsg(fd, m, 64, 0)) != 64) die("sendmmsg: not all were sent");
	close(fd);
}

// local sends between the ends of a stream, and receives. The address's port is
// the size; MORE is whether a descriptor goes along.
static void local(work *w) {
	int pair[2], size = number(w, 0), with = number(w, 1);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	union { char b[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c, in;
	for (long i = 0; i < w->n; i++) {
		struct iovec v = {data, size}, vin = {data, sizeof data};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}, min = {.msg_iov = &vin, .msg_iovlen = 1};
		if (with) {
			m.msg_control = c.b, m.msg_controllen = sizeof c.b;
			min.msg_control = in.b, min.msg_controllen = sizeof in.b;
			struct cmsghdr *h = CMSG_FIRSTHDR(&m);
			h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(h), &(int){2}, sizeof(int));
		}
		must(sendmsg(pair[0], &m, 0));
		for (int got = 0; got < size;) {
			got += must(recvmsg(pair[1], &min, MSG_CMSG_CLOEXEC));
			struct cmsghdr *h = with ? CMSG_FIRSTHDR(&min) : NULL;
			if (h) close(*(int *)CMSG_DATA(h));
			min.msg_controllen = with ? sizeof in.b : 0;
		}
	}
	close(pair[0]);
	close(pair[1]);
}

static void *forever(void *arg) {
	for (;;) pause();
	return arg;
}

// twin makes this a process with two threads.
static void twin(work *w) {
	pthread_t t;
	pthread_create(&t, NULL, forever, w);
}

// bulk sends so many mebibytes over one connection, and waits until they are read.
static void bulk(work *w) {
	int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	must(connect(fd, (void *)&w->to, sizeof w->to));
	for (long i = 0; i < w->n * 16; i++)
		for (ssize_t n = 0; n < (ssize_t)sizeof data;) n += must(send(fd, data + n, sizeof data - n, 0));
	must(shutdown(fd, SHUT_WR));
	must(read(fd, data, 1));
	close(fd);
}

// gso sends so many mebibytes in datagrams that the kernel cuts.
static void gso(work *w) {
	int fd = udp(), cut = 1400;
	must(connect(fd, (void *)&w->to, sizeof w->to));
	must(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &cut, sizeof cut));
	for (long i = 0; i < w->n * (1 << 20) / (40 * 1400); i++) must(send(fd, data, 40 * 1400, 0));
	close(fd);
}

// lookup asks for one address, as libc does: with a socket for each name.
static void lookup(work *w) {
	static const char query[] = "\x12\x34\x01\0\0\1\0\0\0\0\0\0\3www\5bench\7example\0\0\1\0\1";
	char answer[512];
	for (long i = 0; i < w->n; i++) {
		int fd = udp();
		must(connect(fd, (void *)&w->to, sizeof w->to));
		must(send(fd, query, sizeof query - 1, 0));
		if (must(recv(fd, answer, sizeof answer, 0)) < 12 || (answer[3] & 15) || !answer[7]) die("the name was not found");
		close(fd);
	}
}

// spawn runs a program, to its end each time. MORE is its path and arguments.
static void spawn(work *w) {
	for (long i = 0; i < w->n; i++) {
		pid_t pid;
		int status;
		if ((errno = posix_spawn(&pid, w->more[0], NULL, NULL, w->more, environ))) die(w->more[0]);
		must(waitpid(pid, &status, 0));
		if (status) {
			fprintf(stderr, "load: %s: status %#x\n", w->more[0], status);
			exit(1);
		}
	}
}

// hold opens connections and keeps them.
static void hold(work *w) {
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	for (long i = 0; i < w->n; i++) {
		int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		must(connect(fd, (void *)&w->to, sizeof w->to));
	}
}

// paced connects so often, 50 times in a second, and answers with how long each
// took.
static void paced(work *w) {
	long long next = now() + rand() % 20000000;
	for (long i = 0; i < w->n; i++, next += 20000000) {
		struct timespec t = {next / 1000000000, next % 1000000000};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		long long start = now();
		must(connect(fd, (void *)&w->to, sizeof w->to));
		printf("%lld ", now() - start);
		close(fd);
	}
}

static const struct { const char *name; void (*f)(work *); } works[] = {
	{"getppid", getppids}, {"read", reads}, {"write", writes}, {"futex", futexes}, {"epoll_wait", epolls},
	{"udp-connect", udp_connect}, {"tcp", tcp}, {"sendto", sendtos}, {"sendmsg", sendmsgs}, {"sendmmsg", sendmmsgs},
	{"unix", local}, {"twin", twin}, {"bulk", bulk}, {"gso", gso}, {"lookup", lookup}, {"spawn", spawn},
	{"hold", hold}, {"paced", paced},
};

static void perform(char *line) {
	static char none[] = "0.0.0.0:0";
	char *words[32] = {0}, *save = NULL;
	int n = 0;
	for (char *s = strtok_r(line, " \n", &save); s && n < 31; s = strtok_r(NULL, " \n", &save)) words[n++] = s;
	if (n < 2) die("a line without a count");
	char *address = n > 2 ? words[2] : none, *port = strchr(address, ':');
	work w = {atol(words[1]), {.sin_family = AF_INET}, words + (port ? 3 : 2)};
	if (port) {
		*port = 0;
		w.to.sin_port = htons(atoi(port + 1));
		inet_pton(AF_INET, address, &w.to.sin_addr);
	}
	for (size_t i = 0; i < sizeof works / sizeof *works; i++)
		if (!strcmp(words[0], works[i].name)) {
			long long start = now();
			works[i].f(&w);
			printf("%lld\n", now() - start);
			fflush(stdout);
			return;
		}
	die(words[0]);
}

// What follows is the other end.

static int bound(int type, const char *ip, int port) {
	int fd = must(socket(AF_INET, type | SOCK_CLOEXEC, 0)), one = 1;
	in4 a = {.sin_family = AF_INET, .sin_port = htons(port)};
	inet_pton(AF_INET, ip, &a.sin_addr);
	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	if (bind(fd, (void *)&a, sizeof a)) {
		close(fd);
		return -1;
	}
	if (type == SOCK_STREAM) must(listen(fd, 4096));
	return fd;
}

static void *serve_accept(void *arg) {
	struct linger reset = {1, 0}; // no TIME_WAIT, which would use up the ports
	char b;
	for (;;) {
		int fd = accept4((intptr_t)arg, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) continue;
		read(fd, &b, 1); // until the client closes it
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(fd);
	}
}

static void *serve_keep(void *arg) {
	for (;;) accept4((intptr_t)arg, NULL, NULL, SOCK_CLOEXEC);
}

static void *serve_stream(void *arg) {
	static char b[1 << 20];
	for (;;) {
		int fd = accept4((intptr_t)arg, NULL, NULL, SOCK_CLOEXEC);
		while (read(fd, b, sizeof b) > 0);
		close(fd);
	}
}

static void *serve_datagrams(void *arg) {
	static char b[1 << 16];
	int one = 1;
	setsockopt((intptr_t)arg, SOL_UDP, UDP_GRO, &one, sizeof one);
	for (;;) recv((intptr_t)arg, b, sizeof b, 0);
}

struct names { int fd; long wait; }; // nanoseconds before an answer

static void *serve_names(void *arg) {
	struct names *s = arg;
	char b[512 + 16];
	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		in4 from;
		socklen_t len = sizeof from;
		ssize_t n = recvfrom(s->fd, b, 512, 0, (void *)&from, &len);
		if (n < 17) continue;
		size_t end = 12;
		while (end < (size_t)n && b[end]) end += b[end] + 1;
		end += 5;
		if (end > (size_t)n) continue;
		if (s->wait) nanosleep(&(struct timespec){0, s->wait}, NULL);
		b[2] |= 0x80, b[3] = 0x80, b[7] = 1, b[9] = b[11] = 0;
		memcpy(b + end, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", 16);
		sendto(s->fd, b, end + 16, 0, (void *)&from, len);
	}
}

static int port(int fd) {
	in4 a;
	socklen_t len = sizeof a;
	getsockname(fd, (void *)&a, &len);
	return ntohs(a.sin_port);
}

static void start(void *(*f)(void *), void *arg) {
	pthread_t t;
	pthread_create(&t, NULL, f, arg);
}

// drain closes what waits in the queue of a listener, so that no port is in use.
static void drain(int fd) {
	struct linger reset = {1, 0};
	for (int c; (c = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(c)) setsockopt(c, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

// serve prints the ports of its servers in the order of the fields of servers in
// worker.go, and drains the first for each line it reads.
static void serve(void) {
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	int accepts = must(bound(SOCK_STREAM, "127.0.0.1", 0)), keeps = must(bound(SOCK_STREAM, "127.0.0.1", 0));
	int stream = must(bound(SOCK_STREAM, "127.0.0.1", 0)), datagrams = must(bound(SOCK_DGRAM, "127.0.0.1", 0));
	int full = must(bound(SOCK_DGRAM, "127.0.0.1", 0)); // is never read
	int queue = must(bound(SOCK_STREAM, "127.0.0.1", 0));
	must(fcntl(queue, F_SETFL, O_NONBLOCK));
	struct names here = {bound(SOCK_DGRAM, "127.0.0.2", 53), 0}, away = {bound(SOCK_DGRAM, "127.0.0.3", 53), 1000000};
	start(serve_accept, (void *)(intptr_t)accepts);
	start(serve_keep, (void *)(intptr_t)keeps);
	start(serve_stream, (void *)(intptr_t)stream);
	start(serve_datagrams, (void *)(intptr_t)datagrams);
	if (here.fd >= 0) start(serve_names, &here);
	if (away.fd >= 0) start(serve_names, &away);
	printf("%d %d %d %d %d %d\n", port(queue), port(accepts), port(keeps), port(stream), port(datagrams), port(full));
	fflush(stdout);
	for (char line[16]; fgets(line, sizeof line, stdin);) {
		drain(queue);
		puts("drained");
		fflush(stdout);
	}
}

int main(int argc, char **argv) {
	static char line[65536];
	if (argc > 1 && !strcmp(argv[1], "serve"))
		serve();
	else
		while (fgets(line, sizeof line, stdin)) perform(line);
}
