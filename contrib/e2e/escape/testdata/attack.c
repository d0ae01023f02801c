/* A6, A7, E: threads, memory, and the supervisor itself. */
#include "escape.h"
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stddef.h>

enum { SHARED = 40 };

static void *own_table(void *arg)
{
	const struct target *to = arg;
	if (unshare(CLONE_FILES) != 0)
		note("unshare(CLONE_FILES): %m");
	int s = udp(AF_INET);
	dup2(s, SHARED);
	send_to(SHARED, SA(to->v4));
	struct iovec data = { "trick", 5 };
	struct msghdr m = { .msg_name = (void *)&to->v4, .msg_namelen = sizeof to->v4, .msg_iov = &data, .msg_iovlen = 1 };
	sendmsg(SHARED, &m, 0);
	dup2(tcp(AF_INET), SHARED);
	connect_to(SHARED, SA(to->v4));
	return NULL;
}

static int clone3_files(void)
{
	struct clone_args a = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };
	return syscall(SYS_clone3, &a, sizeof a);
}

static int clone_files(void)
{
	return syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
}

void a6_tables(const struct target *to)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} clones[] = { { "clone", clone_files }, { "clone3", clone3_files } };
	pthread_t t;
	/* What the leader has at that number is none of the thread's. */
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	dup2(s, SHARED);
	pthread_create(&t, NULL, own_table, (void *)to);
	pthread_join(t, NULL);
	for (int i = 0; i < 2; i++) {
		int pid = clones[i].run();
		if (pid == 0)
			_exit(0);
		if (pid > 0) {
			leak("%s shares a descriptor table between processes", clones[i].name);
			waitpid(pid, NULL, 0);
		}
	}
	close(SHARED);
	close(s);
}

static void *slow_send(void *page)
{
	int s = udp(AF_INET);
	send_to(s, page, sizeof(struct sockaddr_in));
	close(s);
	return NULL;
}

void a7_fault(const struct target *to)
{
	int u = syscall(SYS_userfaultfd, O_CLOEXEC); /* kernel faults too, for those who may */
	if (u < 0)
		u = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = { .api = UFFD_API };
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = { .range = { (uintptr_t)page, 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	if (u < 0 || ioctl(u, UFFDIO_API, &api) != 0 || ioctl(u, UFFDIO_REGISTER, &r) != 0)
		dprintf(1, "BROKEN userfaultfd: %s\n", strerror(errno));
	pthread_t t[3];
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, slow_send, page);
	connect_to(tcp(AF_INET), SA(allowed.v4)); /* while they hang */
	send_to(udp(AF_INET), SA(allowed.v4));
	char *content = calloc(1, 4096);
	memcpy(content, &to->v4, sizeof to->v4);
	struct uffdio_copy c = { .dst = (uintptr_t)page, .src = (uintptr_t)content, .len = 4096 };
	ioctl(u, UFFDIO_COPY, &c);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	close(u);
	free(content);
}

static int listener = -1;

static void *approve(void *arg)
{
	(void)arg;
	for (;;) {
		struct seccomp_notif n = {};
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0)
			return NULL;
		struct seccomp_notif_resp r = { .id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
	}
}

/* Gets a listener of its own for this thread, answered by another one. */
static int take_over(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof code / sizeof *code, code };
	static const unsigned long flags[] = { SECCOMP_FILTER_FLAG_NEW_LISTENER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | 0x5a5a5a5a00000000UL };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (int i = 0; i < 2 && listener < 0; i++)
		listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[i], &prog);
	pthread_t t;
	return listener < 0 ? -1 : pthread_create(&t, NULL, approve, NULL);
}

static void orphan(const struct target *to)
{
	setsid();
	int s = udp(AF_INET), t = tcp(AF_INET);
	dprintf(1, "DONE\n");
	ask("kill");
	note("the orphan lives");
	send_to(s, SA(to->v4));
	if (take_over() != 0)
		note("no listener: %m");
	else if (getenv("NETJAIL"))
		leak("a listener of its own");
	send_to(s, SA(to->v4));
	connect_to(t, SA(to->v4));
	send_to(udp(AF_INET), SA(to->v4));
	_exit(0);
}

void e1_orphan(const struct target *to)
{
	if (to == &allowed)
		return;
	if (fork() == 0) {
		if (fork() == 0)
			orphan(to);
		_exit(0);
	}
	wait(NULL);
	if (getenv("NETJAIL"))
		for (;;)
			pause();
}

void e2_nested(const struct target *to)
{
	char port[16], dest[64];
	snprintf(port, sizeof port, "%d", to->port);
	snprintf(dest, sizeof dest, "127.0.0.1:%d", to->port);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(2, 1);
		execl(getenv("ESCAPE_NETJAIL"), "netjail", "--no-prompt", "--allow", dest, getenv("ESCAPE_SELF"), "plain", port, port, NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

void f1_dumpable(const struct target *to)
{
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		send_to(udp(AF_INET), SA(to->v4));
		connect_to(tcp(AF_INET), SA(to->v4));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}
