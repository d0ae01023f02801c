/* D: somebody else's sockets, processes and services. */
#include "escape.h"
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <termios.h>

void d1_stdin(const struct target *to)
{
	int type = 0;
	socklen_t n = sizeof type;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	if (getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &n) != 0)
		dprintf(1, "BROKEN stdin is no socket\n");
	if (type == SOCK_DGRAM)
		send_to(0, SA(to->v4));
	if (connect(0, (struct sockaddr *)SA(to->v4)) == 0)
		send(0, "trick", 5, MSG_NOSIGNAL);
	connect(0, SA(none));
	if (connect(0, (struct sockaddr *)SA(to->v4)) == 0)
		send(0, "trick", 5, MSG_NOSIGNAL);
	connect(0, SA(none));
}

static int dial(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	if (connect(s, (struct sockaddr *)SA(a)) != 0) {
		int error = errno;
		close(s);
		errno = error;
		return -1;
	}
	return s;
}

struct rights {
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char c;
	struct iovec data;
	struct msghdr m;
};

static void prepare(struct rights *r)
{
	memset(r, 0, sizeof *r);
	r->c = 'x';
	r->data = (struct iovec){ &r->c, 1 };
	r->m = (struct msghdr){ .msg_iov = &r->data, .msg_iovlen = 1, .msg_control = r->control.bytes, .msg_controllen = sizeof r->control };
}

void d2_rights_in(const struct target *to)
{
	struct rights r;
	int s = dial(getenv("ESCAPE_UNIX")), fd = -1;
	prepare(&r);
	if (recvmsg(s, &r.m, 0) < 1 || !CMSG_FIRSTHDR(&r.m)) {
		dprintf(1, "BROKEN no descriptor was passed: %s\n", strerror(errno));
		return;
	}
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&r.m)), sizeof fd);
	send_to(fd, SA(to->v4));
	connect_to(fd, SA(to->v4));
	close(s);
}

void d2_rights_out(const struct target *to)
{
	struct rights r;
	char c;
	int s = dial(getenv("ESCAPE_UNIX")), fd = udp(AF_INET);
	if (to == &allowed)
		return;
	prepare(&r);
	struct cmsghdr *h = CMSG_FIRSTHDR(&r.m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	if (sendmsg(s, &r.m, 0) != 1)
		note("SCM_RIGHTS: %m");
	else if (read(s, &c, 1) != 1) /* it has sent */
		note("nobody took the descriptor");
	close(s);
}

static volatile long mailbox;
static int exit_socket;

static void on_signal(int sig)
{
	(void)sig;
	send(exit_socket, "signal", 6, 0);
}

/* victim is not in the jail. What is written to it, it sends. */
void victim(void)
{
	char c;
	ssize_t n;
	exit_socket = udp(AF_INET);
	connect(exit_socket, (struct sockaddr *)SA(denied.v4));
	dup2(exit_socket, 50);
	signal(SIGUSR1, on_signal);
	dprintf(1, "%d %lu\n", getpid(), (unsigned long)&mailbox);
	do
		n = read(0, &c, 1);
	while (n == 1 || (n < 0 && errno == EINTR));
	if (mailbox)
		send(exit_socket, "mailbox", 7, 0);
}

static long victim_pid(unsigned long *at)
{
	long pid = 0;
	const char *text = getenv("ESCAPE_VICTIM");
	if (!text || sscanf(text, "%ld %lu", &pid, at) != 2)
		dprintf(1, "BROKEN no victim\n");
	return pid;
}

void d3_pidfd(const struct target *to)
{
	unsigned long at;
	if (to == &allowed)
		return;
	int p = syscall(SYS_pidfd_open, victim_pid(&at), 0);
	int fd = syscall(SYS_pidfd_getfd, p, 50, 0);
	if (fd < 0)
		note("pidfd_getfd: %m");
	else
		send(fd, "trick", 5, 0); /* connected to the denied target */
	char path[64];
	snprintf(path, sizeof path, "/proc/%ld/fd/50", victim_pid(&at));
	fd = open(path, O_RDWR); /* a socket cannot be opened: ENXIO */
	if (fd >= 0)
		send(fd, "trick", 5, 0);
}

static pid_t parent(pid_t pid)
{
	char path[64], text[512] = "";
	int ppid = 0;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY);
	if (read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')'))
		sscanf(strrchr(text, ')') + 1, " %*c %d", &ppid);
	close(fd);
	return ppid;
}

static void intrude(pid_t pid, unsigned long at, const char *who)
{
	long one = 1;
	char path[64];
	struct iovec here = { &one, sizeof one }, there = { (void *)at, sizeof one };
	if (process_vm_writev(pid, &here, 1, &there, 1, 0) > 0)
		leak("process_vm_writev to %s", who);
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	int fd = open(path, O_RDWR);
	if (fd >= 0)
		leak("/proc/pid/mem of %s", who);
	pwrite(fd, &one, sizeof one, at);
	close(fd);
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
		leak("ptrace of %s", who);
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, NULL, __WALL);
		ptrace(PTRACE_POKEDATA, pid, at, 1);
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
}

void d4_memory(const struct target *to)
{
	unsigned long at = 0;
	if (to == &allowed)
		return;
	long pid = victim_pid(&at);
	intrude(pid, at, "a process outside");
	if (getenv("NETJAIL")) {
		intrude(getppid(), 0x1000, "the keeper");
		intrude(parent(getppid()), 0x1000, "the supervisor");
	}
}

void d5_signals(const struct target *to)
{
	unsigned long at = 0;
	if (to == &allowed)
		return;
	long pid = victim_pid(&at);
	kill(pid, SIGUSR1);
	syscall(SYS_tgkill, pid, pid, SIGUSR1);
	siginfo_t info = { .si_signo = SIGUSR1, .si_code = SI_QUEUE };
	syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info);
	int p = syscall(SYS_pidfd_open, pid, 0);
	syscall(SYS_pidfd_send_signal, p, SIGUSR1, NULL, 0);
	int pair[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	fcntl(pair[0], F_SETSIG, SIGUSR1);
	fcntl(pair[0], F_SETOWN, (int)pid);
	fcntl(pair[0], F_SETFL, O_ASYNC);
	write(pair[1], "x", 1);
	if (getenv("NETJAIL")) { /* or there is no packet at the end */
		pid_t keeper = getppid(), supervisor = parent(keeper);
		kill(supervisor, SIGSTOP);
		kill(keeper, SIGSTOP);
		kill(keeper, SIGKILL);
		kill(supervisor, SIGKILL);
	}
}

void d8_brokers(const struct target *to)
{
	static const char *const paths[] = { "/run/nscd/socket", "/var/run/nscd/socket", "/proc/self/root/run/nscd/socket",
		"/run/systemd/resolve/io.systemd.Resolve" };
	if (to == &allowed)
		return;
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		close(dial(paths[i]));
}

void d8_renamed(const struct target *to)
{
	char path[200], moved[200];
	if (to == &allowed)
		return;
	snprintf(path, sizeof path, "%s/podman/podman.sock", getenv("XDG_RUNTIME_DIR"));
	snprintf(moved, sizeof moved, "%s/podman/moved", getenv("XDG_RUNTIME_DIR"));
	close(dial(path)); /* one is refused */
	rename(path, moved);
	close(dial(moved));
	rename(moved, path);
}

void e9_control(const struct target *to)
{
	char dir[200], path[256], name[300];
	snprintf(dir, sizeof dir, "%s/netjail", getenv("XDG_RUNTIME_DIR"));
	snprintf(path, sizeof path, "%s/daemon.sock", dir);
	if (to == &allowed)
		return;
	const char *home = getenv("HOME");
	struct { const char *how, *format; int (*make)(const char *, const char *); } ways[] = {
		{ "its path", NULL, NULL }, { "a symbolic link", "%s/soft", symlink }, { "a hard link", "%s/hard", link },
	};
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "%s", path);
		if (ways[i].make) {
			snprintf(name, sizeof name, ways[i].format, home);
			unlink(name);
			if (ways[i].make(path, name) != 0)
				note("%s: %m", ways[i].how);
		}
		if (dial(name) >= 0)
			leak("the control socket by %s", ways[i].how);
		else if (errno == ENOENT)
			dprintf(1, "BROKEN %s is not there\n", name);
	}
	snprintf(name, sizeof name, "/proc/self/root%.250s", path);
	if (dial(name) >= 0)
		leak("the control socket by /proc/self/root");
	if (chdir(dir) == 0 && dial("./../netjail/daemon.sock") >= 0)
		leak("the control socket by a relative path");
	snprintf(name, sizeof name, "/proc/self/fd/%d/daemon.sock", open(dir, O_PATH));
	if (dial(name) >= 0)
		leak("the control socket by /proc/self/fd");
}

/* Asks the daemon at path to allow what is denied, and tries it then. */
static void approve_at(const char *path, const char *how, const struct target *to)
{
	char text[1024];
	int s = dial(path), u = udp(AF_INET);
	if (s < 0)
		return;
	leak("the control socket by %s", how);
	int n = snprintf(text, sizeof text,
		"{\"v\":1,\"id\":1,\"op\":\"rules.add\",\"data\":{\"app\":\"escape\",\"verdict\":\"allow\","
		"\"destination\":\"udp://127.0.0.1:%d\",\"lifetime\":\"always\",\"enabled\":true}}\n", to->port);
	send(s, text, n, MSG_NOSIGNAL);
	n = recv(s, text, sizeof text - 1, 0);
	note("the daemon answers: %.*s", n < 0 ? 0 : n - 1, text);
	/* The rule is on its way to the supervisor. */
	for (int i = 0; i < 20000 && sendto(u, "trick", 5, 0, (struct sockaddr *)SA(to->v4)) < 0; i++)
		sched_yield();
	close(u);
	close(s);
}

void e10_renamed(const struct target *to)
{
	char dir[200], moved[256], path[256], name[300];
	const char *run = getenv("XDG_RUNTIME_DIR");
	if (to == &allowed)
		return;
	snprintf(dir, sizeof dir, "%s/netjail", run);
	snprintf(moved, sizeof moved, "%s/moved", run);
	snprintf(path, sizeof path, "%s/daemon.sock", dir);
	snprintf(name, sizeof name, "%s/daemon.sock", moved);
	if (rename(dir, moved) != 0)
		note("rename: %m");
	approve_at(name, "its directory's new name", to);
	rename(moved, dir);
	snprintf(name, sizeof name, "%s/other", run);
	if (rename(path, name) != 0)
		note("rename: %m");
	approve_at(name, "its own new name", to);
	rename(name, path);
	link(path, name);
	unlink(path);
	approve_at(name, "what is left after unlink", to);
	rename(name, path);
}

void d11_tiocsti(const struct target *to)
{
	struct termios raw;
	int waiting = 0, one = 0;
	if (to == &allowed || fork() != 0) {
		wait(NULL);
		return;
	}
	setsid();
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ioctl(master, TIOCSPTLCK, &one);
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) != 0)
		dprintf(1, "BROKEN no terminal: %s\n", strerror(errno));
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	ioctl(slave, TIOCSTI, "x");
	syscall(SYS_ioctl, slave, TIOCSTI | 0x5a5a5a5a00000000L, "y");
	syscall(SYS_ioctl, slave | 0x5a5a5a5a00000000L, TIOCSTI | 0x100000000L, "z");
	ioctl(slave, FIONREAD, &waiting);
	if (waiting)
		leak("typed %d characters", waiting);
	_exit(0);
}
