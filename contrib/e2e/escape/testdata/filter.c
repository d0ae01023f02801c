/* E: filters, listeners and tracers of its own, and calls that the supervisor
 * must survive. */
#include "escape.h"
#include <dirent.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>

static int install(uint32_t action, unsigned long flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof code / sizeof *code, code };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void both(const struct target *to)
{
	send_to(udp(AF_INET), SA(to->v4));
	connect_to(tcp(AF_INET), SA(to->v4));
}

/* Later filters: each says of a call what should let it pass. */
void e3_filters(const struct target *to)
{
	static const uint32_t actions[] = { SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW | 0xffff };
	for (int i = 0; i < 4; i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			if (i == 3)
				ptrace(PTRACE_TRACEME, 0, 0, 0), raise(SIGSTOP);
			if (install(i == 3 ? SECCOMP_RET_TRACE : actions[i], 0) != 0)
				note("a filter: %m");
			both(to);
			_exit(0);
		}
		if (i == 3) { /* a tracer that says yes */
			waitpid(pid, &status, 0);
			ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
			ptrace(PTRACE_CONT, pid, 0, 0);
			while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
				ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
			continue;
		}
		waitpid(pid, &status, 0);
	}
}

/* Makes a filter whose listener it keeps; -1 in a jail. */
static int own_listener(void) { return install(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER); }

static int listeners(void)
{
	int found = 0;
	DIR *procs = opendir("/proc");
	for (struct dirent *p; procs && (p = readdir(procs));) {
		char path[300], text[100];
		snprintf(path, sizeof path, "/proc/%.20s/fd", p->d_name);
		DIR *fds = p->d_name[0] >= '1' && p->d_name[0] <= '9' ? opendir(path) : NULL;
		for (struct dirent *f; fds && (f = readdir(fds));) {
			snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", p->d_name, f->d_name);
			ssize_t n = readlink(path, text, sizeof text - 1);
			text[n < 0 ? 0 : n] = 0;
			if (strncmp(text, "anon_inode:seccomp", 18) != 0)
				continue;
			int fd = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, atoi(p->d_name), 0), atoi(f->d_name), 0);
			if (fd >= 0)
				found++;
			close(fd);
		}
		if (fds)
			closedir(fds);
	}
	closedir(procs);
	return found;
}

void e4_listener(const struct target *to)
{
	if (to == &allowed)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		own_listener();
		int n = listeners();
		if (n > 0)
			leak("%d descriptors of a listener", n);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* Answers that nobody asked for, on every descriptor there is. */
void e12_ids(const struct target *to)
{
	if (to == &allowed)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		own_listener();
		for (int fd = 0; fd < 1024; fd++)
			for (int i = 0; i < 64; i++) {
				struct seccomp_notif_resp r = { .id = i < 32 ? (uint64_t)i : (uint64_t)random(), .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
				if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r) == 0 || errno == ENOENT) {
					leak("descriptor %d takes answers", fd);
					break;
				}
			}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

#ifdef __x86_64__
/* A tracer in the jail makes another call of a harmless one. */
void e5_tracer(const struct target *to)
{
	int status, fd = udp(AF_INET), entry = 1;
	static struct sockaddr_in name;
	name = to->v4;
	pid_t pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (int i = 0; i < 3; i++)
			syscall(SYS_getppid);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0)
		note("ptrace: %m");
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, 0x00200000 /* SUSPEND_SECCOMP */ | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0 && getenv("NETJAIL"))
		leak("the filter is suspended");
	ptrace(PTRACE_SYSCALL, pid, 0, 0);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		struct user_regs_struct r;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			ptrace(PTRACE_GETREGS, pid, 0, &r);
			if (entry && r.orig_rax == SYS_getppid) {
				r.orig_rax = SYS_sendto;
				r.rdi = fd;
				r.rsi = (uintptr_t)"trick";
				r.rdx = 5;
				r.r10 = 0;
				r.r8 = (uintptr_t)&name;
				r.r9 = sizeof name;
				ptrace(PTRACE_SETREGS, pid, 0, &r);
			}
			entry = !entry;
		}
		ptrace(PTRACE_SYSCALL, pid, 0, 0);
	}
	close(fd);
}
#else
/* The registers are another machine's; what is left is the address. */
void e5_tracer(const struct target *to)
{
	int status, s = udp(AF_INET);
	static struct sockaddr_in name;
	name = allowed.v4;
	pid_t pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		send_to(s, SA(name));
		_exit(0);
	}
	waitpid(pid, &status, 0);
	struct iovec here = { (void *)&to->v4, sizeof to->v4 }, there = { &name, sizeof name };
	process_vm_writev(pid, &here, 1, &there, 1, 0);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	waitpid(pid, &status, 0);
	close(s);
}
#endif

static uint32_t seed = 12345;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

/* Calls that make no sense, and callers that die in them. */
static void nonsense(const struct target *to, int rounds)
{
	static char page[4096];
	long fds[] = { udp(AF_INET), tcp(AF_INET), udp(AF_INET6), socket(AF_UNIX, SOCK_DGRAM, 0), socket(AF_NETLINK, SOCK_RAW, 0), open("/", O_PATH), 0, -1, 9999, 0x7fffffff };
	static const long calls[] = { SYS_connect, SYS_bind, SYS_listen, SYS_sendto, SYS_sendmsg, SYS_sendmmsg };
	const long pointers[] = { 0, 1, -4096, (long)page, (long)page + 4090, (long)to, (long)&to->v6, -1 };
	static const long lengths[] = { 0, 1, 2, 15, 16, 28, 110, 128, 129, 4096, 0x7fffffff, -1, 1L << 40 };
	for (size_t i = 0; i < sizeof page; i++)
		page[i] = dice(256);
	for (int i = 0; i < rounds; i++) {
		long call = calls[dice(6)], p = pointers[dice(8)], n = lengths[dice(13)];
		long flags = MSG_DONTWAIT | MSG_NOSIGNAL | (dice(4) ? 0 : 1 << dice(31));
		if (call == SYS_sendto)
			syscall(call, fds[dice(10)], pointers[dice(8)], lengths[dice(9)], flags, p, n);
		else if (call == SYS_sendmmsg)
			syscall(call, fds[dice(10)], p, n, flags);
		else if (call == SYS_sendmsg)
			syscall(call, fds[dice(10)], p, flags);
		else if (call == SYS_listen)
			syscall(call, fds[6 + dice(4)], n);
		else
			syscall(call, fds[dice(10)], p, n);
	}
	for (int i = 0; i < 6; i++)
		close(fds[i]);
}

void e6_nonsense(const struct target *to)
{
	for (int i = 0; i < 20; i++) {
		int p[2];
		char c;
		pipe(p);
		pid_t pid = fork();
		if (pid == 0) {
			seed += i * 7919;
			write(p[1], "x", 1);
			nonsense(to, 100000000);
		}
		read(p[0], &c, 1);
		usleep(1000 * (i % 5)); /* it dies in the middle of something */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(p[0]);
		close(p[1]);
	}
	nonsense(to, 2000);
	both(to);
}

enum { STUCK = 100 };

static struct sockaddr_un full = { .sun_family = AF_UNIX, .sun_path = "" };
static int stuck_pair[2];

static void *stick(void *arg)
{
	static char data[1 << 20];
	struct iovec v = { data, sizeof data };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	if ((uintptr_t)arg % 2) {
		sendmsg(stuck_pair[0], &m, MSG_NOSIGNAL);
		return NULL;
	}
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	connect(s, (struct sockaddr *)SA(full));
	close(s);
	return NULL;
}

/* Calls that wait until they are let go, and others meanwhile. */
void e7_wedge(const struct target *to)
{
	pthread_t t[STUCK];
	snprintf(full.sun_path, sizeof full.sun_path, "%s/full", getenv("HOME"));
	unlink(full.sun_path);
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(l, (struct sockaddr *)SA(full)) != 0 || listen(l, 0) != 0)
		dprintf(1, "BROKEN full socket: %s\n", strerror(errno));
	socketpair(AF_UNIX, SOCK_STREAM, 0, stuck_pair);
	for (uintptr_t i = 0; i < STUCK; i++)
		pthread_create(&t[i], NULL, stick, (void *)i);
	for (int i = 0; i < 20; i++)
		both(to);
	close(l);
	shutdown(stuck_pair[1], SHUT_RDWR);
	shutdown(stuck_pair[0], SHUT_RDWR);
	for (int i = 0; i < STUCK; i++)
		pthread_join(t[i], NULL);
	close(stuck_pair[0]);
	close(stuck_pair[1]);
	unlink(full.sun_path);
}

static void *flood(void *arg)
{
	const struct target *to = arg;
	int s = udp(AF_INET);
	struct sockaddr_in a = to->v4;
	for (int i = 0; i < 500; i++) {
		send_to(s, SA(to->v4));
		a.sin_addr.s_addr = htonl(0x7f000000 + 256 + i); /* nobody is there */
		send_to(s, SA(a));
	}
	close(s);
	return NULL;
}

void e8_flood(const struct target *to)
{
	pthread_t t[8];
	if (to == &allowed) {
		both(to);
		return;
	}
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, flood, (void *)to);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
}

/* Waits for the answer to a question, which others forge. */
void e10_forged(const struct target *to) { both(to); }

/* Away from the session, the group, the parent and the control group. */
void e11_hop(const struct target *to)
{
	char text[512] = "", path[600], name[700];
	pid_t pid = fork();
	if (pid != 0) {
		waitpid(pid, NULL, 0);
		return;
	}
	setsid();
	int p[2];
	char c;
	pipe(p);
	if (fork() != 0) {
		close(p[1]);
		read(p[0], &c, 1);
		_exit(0);
	}
	close(p[0]);
	int fd = open("/proc/self/cgroup", O_RDONLY);
	read(fd, text, sizeof text - 1);
	close(fd);
	char *at = strstr(text, "0::");
	if (at) {
		at[strcspn(at, "\n")] = 0;
		snprintf(path, sizeof path, "/sys/fs/cgroup%.400s/escape-%d", at + 3, getpid());
		mkdir(path, 0700);
		snprintf(name, sizeof name, "%s/cgroup.procs", path);
		fd = open(name, O_WRONLY);
		note("another control group: %s", write(fd, "0", 1) == 1 ? "yes" : "no");
		close(fd);
	}
	both(to);
	unshare(0x02000000 /* CLONE_NEWCGROUP */);
	both(to);
	if (at) {
		snprintf(name, sizeof name, "/sys/fs/cgroup%.400s/cgroup.procs", at + 3);
		fd = open(name, O_WRONLY);
		write(fd, "0", 1);
		close(fd);
		rmdir(path);
	}
	_exit(0);
}

static pid_t parent_of(pid_t pid)
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

static void *idle(void *arg)
{
	pause();
	return arg;
}

/* Says that it is another process: its parent, the supervisor, the first. */
static void forge(int type, pid_t pid, const char *who)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control = {}, back = {};
	int pair[2];
	char c = 'x';
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control };
	struct ucred cred = { pid, getuid(), getgid() };
	socketpair(AF_UNIX, type, 0, pair);
	setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_CREDENTIALS;
	h->cmsg_len = CMSG_LEN(sizeof cred);
	memcpy(CMSG_DATA(h), &cred, sizeof cred);
	sendmsg(pair[0], &m, 0);
	m.msg_control = back.bytes;
	m.msg_controllen = sizeof back;
	if (recvmsg(pair[1], &m, MSG_DONTWAIT) == 1 && CMSG_FIRSTHDR(&m)) {
		memcpy(&cred, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof cred);
		if (cred.pid == pid)
			leak("credentials of %s", who);
	}
	close(pair[0]);
	close(pair[1]);
}

void e14_credentials(const struct target *to)
{
	if (to == &allowed)
		return;
	pid_t parent = getppid(), grand = parent_of(getppid());
	for (int threads = 0; threads < 2; threads++) {
		pthread_t t;
		if (threads)
			pthread_create(&t, NULL, idle, NULL);
		for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
			forge(type, parent, "the parent");
			if (grand > 0)
				forge(type, grand, "the parent's parent");
		}
		if (threads) {
			pthread_cancel(t);
			pthread_join(t, NULL);
		}
	}
}

/* Every family, type and protocol, with and without garbage: what comes is a
 * socket that a jail may have. */
void e15_sockets(const struct target *to)
{
	static const int protos[] = { 0, 1, 2, 6, 17, 33, 47, 58, 89, 132, 136, 143, 255, 256, 262, 263 };
	long bad = 0;
	if (to == &allowed)
		return;
	for (long family = 0; family < 48; family++)
		for (long type = 0; type < 16; type++)
			for (size_t i = 0; i < sizeof protos / sizeof *protos; i++)
				for (int garbage = 0; garbage < 2; garbage++) {
					long high = garbage ? 0x7fffffff00000000L : 0;
					int s = syscall(SYS_socket, family | high, type | high | (garbage ? SOCK_CLOEXEC | SOCK_NONBLOCK : 0), protos[i] | high);
					if (s < 0)
						continue;
					int d = -1, t = -1, p = -1;
					socklen_t n = sizeof(int);
					getsockopt(s, SOL_SOCKET, SO_DOMAIN, &d, &n);
					getsockopt(s, SOL_SOCKET, SO_TYPE, &t, &n);
					getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &p, &n);
					int inet = d == AF_INET || d == AF_INET6;
					int fine = d == AF_UNIX || (d == AF_NETLINK && p == 0) || (inet && t == SOCK_STREAM && p == IPPROTO_TCP) ||
						(inet && t == SOCK_DGRAM && (p == IPPROTO_UDP || p == IPPROTO_ICMP || p == IPPROTO_ICMPV6));
					if (!fine && bad++ < 3)
						leak("socket %d %d %d", d, t, p);
					close(s);
				}
	if (bad)
		note("%ld sockets", bad);
}

/* No descriptor is an exception, and no call with descriptors in it. */
void e16_numbers(const struct target *to)
{
	struct iovec data = { "trick", 5 };
	int s = udp(AF_INET);
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct msghdr m = { .msg_name = (void *)&to->v4, .msg_namelen = sizeof to->v4, .msg_iov = &data, .msg_iovlen = 1 };
	pid_t pid = fork();
	if (pid == 0) {
		int t = fcntl(s, F_DUPFD, 1000);
		for (int fd = 0; fd < 900; fd++) {
			if (fd == 1 || fd == 2)
				continue; /* notes */
			dup2(t, fd);
			sendmsg(fd, &m, 0);
			send_to(fd, SA(to->v4));
		}
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control;
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		sendmsg(t, &m, 0);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	close(s);
}

/* What runs before main. */
__attribute__((constructor)) static void early(int argc, char **argv)
{
	if (!getenv("ESCAPE_EARLY") || argc != 4 || strcmp(argv[1], "E17") != 0)
		return;
	struct target t = target(argv[3]);
	both(&t);
	t = target(argv[2]);
	both(&t);
}

void e17_early(const struct target *to)
{
	/* And in what comes right after exec, many times. */
	char port[16];
	snprintf(port, sizeof port, "%d", to->port);
	for (int i = 0; i < 20; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			execl(getenv("ESCAPE_SELF"), "escape", "plain", port, port, NULL);
			_exit(127);
		}
		waitpid(pid, NULL, 0);
	}
}

static void tick(int sig) { (void)sig; }

/* Interrupted, stopped and continued: a call that begins again. */
/* A connection by which a trick is sent after its rule has gone: by its own
 * descriptor, by another one, by a child, and by another connect. */
void e18_revoked(const struct target *to)
{
	int s = tcp(AF_INET), go[2];
	char c;
	if (connect(s, (struct sockaddr *)SA(to->v4)) != 0 || send(s, "held", 4, MSG_NOSIGNAL) != 4)
		note("before: %m");
	int other = dup(s);
	pid_t pid = -1;
	if (pipe2(go, O_CLOEXEC) == 0 && (pid = fork()) == 0) {
		close(go[1]);
		read(go[0], &c, 1);
		send(s, "trick", 5, MSG_NOSIGNAL);
		_exit(0);
	}
	if (to == &denied)
		ask("revoke");
	close(go[1]);
	waitpid(pid, NULL, 0);
	send(s, "trick", 5, MSG_NOSIGNAL);
	send(other, "trick", 5, MSG_NOSIGNAL);
	connect(s, (struct sockaddr *)SA(to->v4));
	send(s, "trick", 5, MSG_NOSIGNAL);
	close(s);
	close(other);
	connect_to(tcp(AF_INET), SA(to->v4));
}

/* The same with a descriptor that nobody has while the rule goes. */
void e18_hidden(const struct target *to)
{
	char c, control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int s = tcp(AF_INET), pair[2];
	if (to == &allowed || connect(s, (struct sockaddr *)SA(to->v4)) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return;
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof s);
	memcpy(CMSG_DATA(h), &s, sizeof s);
	if (sendmsg(pair[0], &m, 0) != 1)
		note("SCM_RIGHTS: %m");
	close(s);
	ask("revoke");
	sleep(1);
	if (recvmsg(pair[1], &m, 0) == 1 && CMSG_FIRSTHDR(&m)) {
		memcpy(&s, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof s);
		send(s, "trick", 5, MSG_NOSIGNAL);
	}
}

void e19_again(const struct target *to)
{
	int s = udp(AF_INET), sent = 0;
	struct sigaction a = { .sa_handler = tick };
	struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = {};
	for (int restart = 0; restart < 2; restart++) {
		a.sa_flags = restart ? SA_RESTART : 0;
		sigaction(SIGALRM, &a, NULL);
		setitimer(ITIMER_REAL, &often, NULL);
		for (int i = 0; i < 100; i++)
			sent += sendto(s, "trick", 5, 0, (struct sockaddr *)SA(to->v4)) == 5;
		setitimer(ITIMER_REAL, &never, NULL);
	}
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 100; i++)
			sent += sendto(s, "trick", 5, 0, (struct sockaddr *)SA(to->v4)) == 5;
		_exit(0);
	}
	for (int i = 0; i < 50; i++) {
		kill(pid, SIGSTOP);
		sched_yield();
		kill(pid, SIGCONT);
		usleep(100);
	}
	waitpid(pid, NULL, 0);
	note("%d of 200 sent", sent);
	close(s);
}
