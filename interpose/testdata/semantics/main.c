// A script of socket calls, run bare and in a jail, with one thread and with
// two: a jail's supervisor performs more calls itself where there are two.
//
//   semantics single|threads DIRECTORY
#include "semantics.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

int threads;

void say(const char *name, const char *format, ...) {
	char b[8192];
	int n = snprintf(b, sizeof b, "%s\t", name);
	va_list ap;
	va_start(ap, format);
	n += vsnprintf(b + n, sizeof b - n - 1, format, ap);
	va_end(ap);
	b[n++] = '\n';
	write(1, b, n);
}

const char *got(long r) {
	static char b[8][32];
	static int i;
	int e = errno;
	if (r < 0) return strerrorname_np(e);
	i = (i + 1) % 8;
	snprintf(b[i], sizeof b[i], "%ld", r);
	return b[i];
}

const char *sub(const char *name, const char *part) {
	static char b[8][256];
	static int i;
	i = (i + 1) % 8;
	snprintf(b[i], sizeof b[i], "%s: %s", name, part);
	return b[i];
}

void must(int ok, const char *what) {
	if (ok) return;
	say("broken", "%s: %s", what, strerrorname_np(errno));
	_exit(1);
}

// describe writes an address down. Ports and names of the kernel's choice are
// not told apart.
static void describe(char *b, size_t size, const struct sockaddr_storage *s, socklen_t n) {
	char ip[INET6_ADDRSTRLEN];
	const struct sockaddr_in *four = (const void *)s;
	const struct sockaddr_in6 *six = (const void *)s;
	const struct sockaddr_un *u = (const void *)s;
	switch (s->ss_family) {
	case AF_INET:
		snprintf(b, size, "%s:%s", inet_ntop(AF_INET, &four->sin_addr, ip, sizeof ip), four->sin_port ? "PORT" : "0");
		return;
	case AF_INET6:
		snprintf(b, size, "%s:%s", inet_ntop(AF_INET6, &six->sin6_addr, ip, sizeof ip), six->sin6_port ? "PORT" : "0");
		return;
	}
	int at = snprintf(b, size, "%d bytes ", (int)n);
	const char *path = u->sun_path;
	int len = (int)n - (int)offsetof(struct sockaddr_un, sun_path);
	int automatic = n == 8 && path[0] == 0;
	for (int i = 0; i < len && at < (int)size - 5; i++) {
		unsigned char c = path[i];
		if (automatic && i > 0) c = strchr("0123456789abcdef", c) && c ? '#' : '!';
		at += snprintf(b + at, size - at, c > ' ' && c < 127 ? "%c" : "\\%02x", c);
	}
}

void state(const char *name, int fd) {
	struct sockaddr_storage a = {0};
	socklen_t n = sizeof a;
	char own[700], peer[700];
	if (getsockname(fd, (void *)&a, &n)) strcpy(own, strerrorname_np(errno));
	else describe(own, sizeof own, &a, n);
	memset(&a, 0, sizeof a);
	n = sizeof a;
	if (getpeername(fd, (void *)&a, &n)) strcpy(peer, strerrorname_np(errno));
	else describe(peer, sizeof peer, &a, n);
	int e = -1;
	n = sizeof e;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n);
	say(sub(name, "state"), "SO_ERROR %d, name %s, peer %s, flags %#x", e, own, peer, fcntl(fd, F_GETFL));
}

// Once it is there the second thread takes no signal: not even SIGSTOP, which
// goes to the first.
static void *idle(void *x) {
	pthread_barrier_wait(x);
	for (;;) pause();
	return x;
}

void grow(void) {
	if (!threads) return;
	sigset_t all, old;
	pthread_t t;
	pthread_barrier_t there;
	pthread_barrier_init(&there, NULL, 2);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); // signals are the first thread's
	must(pthread_create(&t, NULL, idle, &there) == 0, "pthread_create");
	pthread_barrier_wait(&there);
	pthread_barrier_destroy(&there);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void child(void (*f)(void)) {
	int status;
	pid_t pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		f();
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	must(status == 0, "a child");
}

int until(int fd, short events) {
	struct pollfd p = {fd, events, 0};
	int r;
	do r = poll(&p, 1, 30000);
	while (r < 0 && errno == EINTR);
	return r > 0 ? p.revents : 0;
}

int tcp(int flags) {
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	must(fd >= 0, "socket");
	return fd;
}

int tcp_listener(int backlog, struct sockaddr_in *at) {
	int fd = tcp(0);
	socklen_t n = sizeof *at;
	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(bind(fd, (void *)at, n) == 0 && listen(fd, backlog) == 0 && getsockname(fd, (void *)at, &n) == 0, "a listener");
	return fd;
}

int local(int type) {
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	must(fd >= 0, "socket");
	return fd;
}

socklen_t un(struct sockaddr_un *a, const char *path) {
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	memcpy(a->sun_path, path, strlen(path) > sizeof a->sun_path ? sizeof a->sun_path : strlen(path));
	return offsetof(struct sockaddr_un, sun_path) + strlen(path);
}

long bind_path(int fd, const char *path) {
	struct sockaddr_un a;
	socklen_t n = un(&a, path);
	return bind(fd, (void *)&a, n);
}

long connect_path(int fd, const char *path) {
	struct sockaddr_un a;
	socklen_t n = un(&a, path);
	return connect(fd, (void *)&a, n);
}

int bound(int type, const char *path) {
	int fd = local(type);
	must(bind_path(fd, path) == 0, path);
	must((type & 0xf) == SOCK_DGRAM || listen(fd, 100) == 0, "listen");
	return fd;
}

void timeout(int fd, int ms) {
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	must(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0, "SO_SNDTIMEO");
}

long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

struct msghdr *message(struct message *m, const void *data, size_t n) {
	memset(m, 0, sizeof *m);
	m->v = (struct iovec){(void *)data, n};
	m->h.msg_iov = &m->v;
	m->h.msg_iovlen = 1;
	return &m->h;
}

void *control(struct message *m, int level, int type, const void *data, size_t n) {
	struct cmsghdr *c = (void *)(m->control + m->h.msg_controllen);
	*c = (struct cmsghdr){.cmsg_len = CMSG_LEN(n), .cmsg_level = level, .cmsg_type = type};
	if (data) memcpy(CMSG_DATA(c), data, n);
	m->h.msg_control = m->control;
	m->h.msg_controllen += CMSG_SPACE(n);
	return CMSG_DATA(c);
}

int main(int argc, char **argv) {
	must(argc == 3 && chdir(argv[2]) == 0, "usage");
	threads = strcmp(argv[1], "threads") == 0;
	umask(022);
	struct sigevent kill = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
	struct itimerspec limit = {.it_value.tv_sec = 120};
	timer_t t;
	must(timer_create(CLOCK_MONOTONIC, &kill, &t) == 0 && timer_settime(t, 0, &limit, NULL) == 0, "timer");
	grow();
	waiting();
	events();
	pipes();
	paths();
	owners();
	roots();
	datagrams();
	vectors();
	rights();
	credentials();
	say("end", "reached");
	return 0;
}
