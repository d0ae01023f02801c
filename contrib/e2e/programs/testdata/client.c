/* client talks to an echo server, from one of many kinds of process.
 *
 *   client plain|threads|fork|vfork|spawn|crowd PROTO HOST PORT
 *   client daemon PROTO HOST PORT HOST PORT FIFO RESULT
 *
 * PROTO is tcp, tcp-nb, udp, udp-nb (connected, in blocking and non-blocking
 * mode), udpto, udpmsg or udpmmsg (not connected). It prints what happened and
 * exits 0 if every exchange succeeded. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT = 60000, THREADS = 16, CROWD = 200 };

extern char **environ;

struct target {
	const char *proto;
	struct sockaddr_storage addr;
	socklen_t len;
};

struct outcome {
	int failed;
	char text[200];
};

static struct target parse(const char *proto, const char *host, const char *port)
{
	struct target to = { .proto = proto };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&to.addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&to.addr;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(atoi(port));
		to.len = sizeof *v4;
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(atoi(port));
		to.len = sizeof *v6;
	} else {
		fprintf(stderr, "client: bad address %s\n", host);
		exit(2);
	}
	return to;
}

static struct outcome failure(const char *call, int error)
{
	struct outcome o = { .failed = 1 };
	snprintf(o.text, sizeof o.text, "%s: %s", call, strerror(error));
	return o;
}

static int ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	return poll(&p, 1, WAIT) == 1;
}

/* join connects fd, and sends. It notes in o what a connect in non-blocking mode says. */
static int join(int fd, struct target *to, struct outcome *o)
{
	int error = 0;
	socklen_t n = sizeof error;
	if (connect(fd, (struct sockaddr *)&to->addr, to->len) < 0) {
		if (errno != EINPROGRESS) {
			*o = failure("connect", errno);
			return -1;
		}
		strcpy(o->text, "in progress, ");
		if (!ready(fd, POLLOUT)) {
			*o = failure("poll", ETIMEDOUT);
			return -1;
		}
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error) {
			*o = failure("SO_ERROR", error);
			return -1;
		}
	}
	if (send(fd, "ping", 4, MSG_NOSIGNAL) < 0) {
		*o = failure("send", errno);
		return -1;
	}
	return 0;
}

static int post(int fd, struct target *to, struct outcome *o)
{
	struct iovec iov = { .iov_base = "ping", .iov_len = 4 };
	struct mmsghdr m = { .msg_hdr = { .msg_name = &to->addr, .msg_namelen = to->len, .msg_iov = &iov, .msg_iovlen = 1 } };
	int n;
	if (!strcmp(to->proto, "udpto"))
		n = sendto(fd, "ping", 4, 0, (struct sockaddr *)&to->addr, to->len);
	else if (!strcmp(to->proto, "udpmsg"))
		n = sendmsg(fd, &m.msg_hdr, 0);
	else
		n = sendmmsg(fd, &m, 1, 0);
	if (n < 0)
		*o = failure(to->proto, errno);
	return n;
}

static struct outcome exchange(struct target *to)
{
	struct outcome o = { 0 };
	char buf[16];
	int nonblock = strstr(to->proto, "-nb") != NULL, connected = nonblock || to->proto[3] == 0;
	int type = (to->proto[0] == 't' ? SOCK_STREAM : SOCK_DGRAM) | (nonblock ? SOCK_NONBLOCK : 0);
	int fd = socket(to->addr.ss_family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failure("socket", errno);
	if ((connected ? join(fd, to, &o) : post(fd, to, &o)) < 0)
		goto out;
	if (!ready(fd, POLLIN)) {
		o = failure("answer", ETIMEDOUT);
		goto out;
	}
	ssize_t n = recv(fd, buf, sizeof buf - 1, 0);
	if (n < 0) {
		o = failure("recv", errno);
		goto out;
	}
	buf[n] = 0;
	strcat(o.text, buf);
	if (!!(fcntl(fd, F_GETFL) & O_NONBLOCK) != nonblock)
		o = failure("the socket's mode", EINVAL);
out:
	close(fd);
	return o;
}

static int tell(struct outcome o)
{
	puts(o.text);
	return o.failed;
}

static struct target shared_target;
static struct outcome outcomes[CROWD];

static void *thread(void *o)
{
	*(struct outcome *)o = exchange(&shared_target);
	return NULL;
}

static int threads(void)
{
	pthread_t id[THREADS];
	int failed = 0;
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&id[i], NULL, thread, &outcomes[i]))
			return tell(failure("pthread_create", errno));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(id[i], NULL);
		failed += tell(outcomes[i]);
	}
	return failed != 0;
}

static int reap(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) ? 3 : WEXITSTATUS(status);
}

static int forked(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		int failed = tell(exchange(&shared_target));
		fflush(stdout);
		_exit(failed);
	}
	return pid < 0 ? tell(failure("fork", errno)) : reap(pid);
}

static int vforked(char **argv)
{
	pid_t pid = vfork();
	if (pid == 0) {
		execv("/proc/self/exe", argv);
		_exit(126);
	}
	return pid < 0 ? tell(failure("vfork", errno)) : reap(pid);
}

static int spawned(char **argv)
{
	pid_t pid;
	int error = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ);
	return error ? tell(failure("posix_spawn", error)) : reap(pid);
}

/* crowd lets processes go at once: a read ends when the parent closes the pipe. */
static int crowd(void)
{
	int gate[2], ok = 0, failed = 0;
	pid_t pid[CROWD];
	char c;
	if (pipe(gate) < 0)
		return tell(failure("pipe", errno));
	for (int i = 0; i < CROWD; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			return tell(failure("fork", errno));
		if (pid[i] == 0) {
			close(gate[1]);
			while (read(gate[0], &c, 1) > 0)
				;
			_exit(exchange(&shared_target).failed);
		}
	}
	close(gate[1]);
	for (int i = 0; i < CROWD; i++) {
		int r = reap(pid[i]);
		ok += r == 0;
		failed += r == 1;
	}
	printf("%d ok, %d failed\n", ok, failed);
	return ok != CROWD;
}

/* daemonise leaves a process behind that talks to two targets when fifo is
 * opened, after its parents have ended. */
static int daemonise(struct target *a, struct target *b, const char *fifo, const char *result)
{
	pid_t pid = fork();
	if (pid < 0)
		return tell(failure("fork", errno));
	if (pid > 0)
		return reap(pid);
	setsid();
	if (fork() != 0)
		_exit(0);
	alarm(180);
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close(open(fifo, O_RDONLY));
	char temp[4096];
	snprintf(temp, sizeof temp, "%s.new", result);
	FILE *f = fopen(temp, "w");
	if (!f)
		_exit(1);
	fprintf(f, "%s\n", exchange(a).text);
	fprintf(f, "%s\n", exchange(b).text);
	fclose(f);
	rename(temp, result);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	char *plain[] = { argv[0], "plain", argv[2], argv[3], argv[4], NULL };
	shared_target = parse(argv[2], argv[3], argv[4]);
	if (!strcmp(argv[1], "plain"))
		return tell(exchange(&shared_target));
	if (!strcmp(argv[1], "threads"))
		return threads();
	if (!strcmp(argv[1], "fork"))
		return forked();
	if (!strcmp(argv[1], "vfork"))
		return vforked(plain);
	if (!strcmp(argv[1], "spawn"))
		return spawned(plain);
	if (!strcmp(argv[1], "crowd"))
		return crowd();
	if (!strcmp(argv[1], "daemon") && argc == 9) {
		struct target other = parse(argv[2], argv[5], argv[6]);
		return daemonise(&shared_target, &other, argv[7], argv[8]);
	}
	return 2;
}
