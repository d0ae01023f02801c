/* D: somebody else's sockets, processes and services. */
#include "escape.h"
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
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

int dial(const char *path)
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

/* Sockets of services that do for others what a jail may not. */
void d8_brokers(const struct target *to)
{
	char list[1024], name[300], *path, *rest = list;
	if (to == &allowed)
		return;
	snprintf(list, sizeof list, "%s", getenv("ESCAPE_PATHS"));
	while ((path = strsep(&rest, ":"))) {
		int s = dial(path);
		if (s < 0 && errno == ENOENT)
			dprintf(1, "BROKEN %s is not there\n", path);
		close(s);
		snprintf(name, sizeof name, "/proc/self/root%s", path);
		close(dial(name));
		if (strncmp(path, "/run/", 5) == 0) {
			snprintf(name, sizeof name, "/var%s", path);
			close(dial(name));
		}
		if (strrchr(path, '/') && chdir("/") == 0)
			close(dial(path + 1));
	}
}

/* A path means something else in another root, or in other mounts. */
static void e13_in(int how, const char *dir, const char *file)
{
	char name[300], uid[50], gid[50];
	int u = getuid(), g = getgid();
	if (getuid() != 0 || how == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
			note("unshare: %m");
		snprintf(uid, sizeof uid, "%d %d 1", u, u);
		snprintf(gid, sizeof gid, "%d %d 1", g, g);
		int fd = open("/proc/self/setgroups", O_WRONLY);
		write(fd, "deny", 4);
		close(fd);
		fd = open("/proc/self/uid_map", O_WRONLY);
		write(fd, uid, strlen(uid));
		close(fd);
		fd = open("/proc/self/gid_map", O_WRONLY);
		write(fd, gid, strlen(gid));
		close(fd);
	}
	switch (how) {
	case 0: /* other mounts */
		snprintf(name, sizeof name, "%s/mnt", getenv("HOME"));
		mkdir(name, 0700);
		if (mount(dir, name, NULL, MS_BIND, NULL) != 0)
			note("mount: %m");
		strcat(name, file);
		close(dial(name));
		break;
	case 1: /* another root */
		if (chroot(dir) != 0 || chdir("/") != 0)
			note("chroot: %m");
		close(dial(file));
		close(dial(file + 1));
		break;
	case 2: /* a relative path */
		chdir(dir);
		close(dial(file + 1));
		break;
	}
	_exit(0);
}

void e13_deputy(const struct target *to)
{
	char dir[300], *file = NULL;
	if (to == &allowed)
		return;
	snprintf(dir, sizeof dir, "%s", getenv("ESCAPE_PATHS"));
	file = strrchr(dir, '/');
	char base[100];
	snprintf(base, sizeof base, "%s", file);
	*file = 0;
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();
		if (pid == 0)
			e13_in(i, dir, base);
		waitpid(pid, NULL, 0);
	}
}

struct landlock_domain {
	uint64_t files, net, scoped;
};

/* Rights that a program gave up, which its supervisor has. Without netjail it
 * gives up nothing, to see that there is something to get. */
void e13_rights(const struct target *to)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int give_up = getenv("NETJAIL") != NULL, fd;
	if (to == &allowed)
		return;
	snprintf(a.sun_path, sizeof a.sun_path, "%s/private", getenv("HOME"));
	unlink(a.sun_path);
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(l, (struct sockaddr *)SA(a)) != 0 || chmod(a.sun_path, 0600) != 0 || listen(l, 5) != 0)
		dprintf(1, "BROKEN private socket: %s\n", strerror(errno));
	chmod(getenv("HOME"), 0711);
	pid_t pid = fork();
	if (pid == 0) {
		if (give_up && getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			note("setuid: %m");
		if ((!give_up || getuid() != 0) && dial(a.sun_path) >= 0 && (!give_up || getuid() == 65534))
			leak("another user's socket");
		struct landlock_domain d = { .net = 2 /* CONNECT_TCP */ };
		if (give_up && ((fd = syscall(444, &d, sizeof d, 0)) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(446, fd, 0) != 0)) {
			note("landlock: %m");
			_exit(0);
		}
		if (connect(tcp(AF_INET), (struct sockaddr *)SA(allowed.v4)) == 0)
			leak("TCP, which it had forbidden itself");
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	close(l);
	unlink(a.sun_path);
}

/* A program that has its owner's rights: another one's of root's, or, for an
 * ordinary user, the system's su, whose loader prints its secrets only without. */
void d13_setuid(const struct target *to)
{
	const char *of_nobody = getenv("ESCAPE_SETUID");
	char text[8192] = "";
	int p[2];
	size_t at = 0;
	if (to == &allowed)
		return;
	pipe(p);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		dup2(p[1], 2);
		close(p[0]);
		setenv("LD_SHOW_AUXV", "1", 1);
		if (*of_nobody)
			execl(of_nobody, "escape", "euid", NULL);
		execl("/usr/bin/su", "su", "--version", NULL);
		execl("/bin/su", "su", "--version", NULL);
		_exit(127);
	}
	close(p[1]);
	for (ssize_t n; at < sizeof text - 1 && (n = read(p[0], text + at, sizeof text - 1 - at)) > 0;)
		at += n;
	close(p[0]);
	waitpid(pid, NULL, 0);
	for (size_t i = 0; i < at; i++)
		if (text[i] == '\n')
			text[i] = ' ';
	if (*of_nobody ? strstr(text, "euid 65534") != NULL : !strstr(text, "AT_SECURE:"))
		leak("a setuid program has its owner's rights: %.60s", text);
	if (at == 0)
		dprintf(1, "BROKEN the setuid program says nothing\n");
}

/* Under the name, or in the place, of a program that may. */
void d14_borrow(const struct target *to)
{
	char port[16], name[300], self[65536];
	if (to == &allowed)
		return;
	snprintf(port, sizeof port, "%d", to->port);
	snprintf(name, sizeof name, "%s/trusted", getenv("HOME"));
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), m = syscall(SYS_memfd_create, "trusted", 0);
	int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	for (ssize_t n; (n = read(from, self, sizeof self)) > 0;) {
		write(m, self, n);
		write(file, self, n);
	}
	close(file);
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			setenv("NETJAIL_APP", "trusted", 1);
			prctl(PR_SET_NAME, "trusted");
			char *argv[] = { "trusted", "plain", port, port, NULL };
			dup2(2, 1);
			if (i)
				syscall(SYS_execveat, m, "", argv, environ, 0x1000 /* AT_EMPTY_PATH */);
			execv(name, argv);
			_exit(127);
		}
		waitpid(pid, NULL, 0);
	}
	close(m);
	close(from);
}

/* A socket that a rule denies by its path, by a path that no rule speaks of. */
void d9_linked(const struct target *to)
{
	char name[200];
	const char *path = getenv("ESCAPE_PATHS");
	if (to == &allowed)
		return;
	snprintf(name, sizeof name, "%s/linked", getenv("HOME"));
	unlink(name);
	if (getenv("NETJAIL") && dial(path) >= 0)
		dprintf(1, "BROKEN the rule does not hold\n");
	if (link(path, name) != 0)
		note("link: %m");
	close(dial(name));
	unlink(name);
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

void e9_renamed(const struct target *to)
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
