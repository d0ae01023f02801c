// null is the least that a supervisor can do which makes calls on a copy of what
// it has read: it asks nobody and keeps nothing. What it takes is what the kernel
// takes. "null PROGRAM ARGS..." runs a program under it.
//
// It duplicates sockets through a pidfd that it keeps, for programs with one
// thread, or with "null -o" through one that it opens for each call.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#endif
#define PIDFD_THREAD 0200 // O_EXCL

static void die(const char *what) {
	perror(what);
	_exit(1);
}

static int trap(void) {
#define when(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		when(SYS_connect), when(SYS_sendmsg), when(SYS_sendmmsg),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4])), // little-endian
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &p);
}

static pid_t tid;
static uint64_t id;
static int listener;

static int copy(void *to, uint64_t from, size_t n) {
	struct iovec l = {to, n}, r = {(void *)(uintptr_t)from, n};
	return process_vm_readv(tid, &l, 1, &r, 1, 0) == (ssize_t)n;
}

static int valid(void) { return !ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id); }

static struct { char name[128], data[65536]; } message[64];

static long on_connect(int fd, uint64_t *a) {
	struct sockaddr_storage s;
	if (a[2] > sizeof s || !copy(&s, a[1], a[2]) || !valid()) return -EFAULT;
	return connect(fd, (void *)&s, a[2]) ? -errno : 0;
}

static long on_sendto(int fd, uint64_t *a) {
	struct iovec l[2] = {{message->name, a[5]}, {message->data, a[2]}};
	struct iovec r[2] = {{(void *)(uintptr_t)a[4], a[5]}, {(void *)(uintptr_t)a[1], a[2]}};
	if (a[5] > sizeof message->name || a[2] > sizeof message->data) return -EMSGSIZE;
	if (process_vm_readv(tid, l, 2, r, 2, 0) != (ssize_t)(a[2] + a[5]) || !valid()) return -EFAULT;
	long n = sendto(fd, message->data, a[2], a[3] | MSG_NOSIGNAL, (void *)message->name, a[5]);
	return n < 0 ? -errno : n;
}

// gather reads n messages of one vector each: the headers were read before. It
// takes two calls, because the one says where the other has to read.
static int gather(struct mmsghdr *m, struct iovec *v, int n) {
	struct iovec l[128], r[128];
	size_t want = 0;
	for (int i = 0; i < n; i++) {
		struct msghdr *h = &m[i].msg_hdr;
		if (h->msg_iovlen != 1 || h->msg_namelen > sizeof message->name || h->msg_controllen) return 0;
		l[2 * i] = (struct iovec){message[i].name, h->msg_namelen}, r[2 * i] = (struct iovec){h->msg_name, h->msg_namelen};
		l[2 * i + 1] = (struct iovec){&v[i], sizeof *v}, r[2 * i + 1] = (struct iovec){h->msg_iov, sizeof *v};
		want += h->msg_namelen + sizeof *v;
	}
	if (process_vm_readv(tid, l, 2 * n, r, 2 * n, 0) != (ssize_t)want) return 0;
	want = 0;
	for (int i = 0; i < n; i++) {
		if (v[i].iov_len > sizeof message->data) return 0;
		l[i] = (struct iovec){message[i].data, v[i].iov_len}, r[i] = v[i];
		want += v[i].iov_len;
		v[i].iov_base = message[i].data;
		m[i].msg_hdr.msg_name = message[i].name, m[i].msg_hdr.msg_iov = &v[i];
	}
	return process_vm_readv(tid, l, n, r, n, 0) == (ssize_t)want && valid();
}

static long on_sendmsg(int fd, uint64_t *a) {
	struct mmsghdr m;
	struct iovec v;
	if (!copy(&m.msg_hdr, a[1], sizeof m.msg_hdr) || !gather(&m, &v, 1)) return -EFAULT;
	long n = sendmsg(fd, &m.msg_hdr, a[2] | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

static long on_sendmmsg(int fd, uint64_t *a) {
	struct mmsghdr m[64];
	struct iovec v[64], l[64], r[64];
	int n = a[2] < 64 ? a[2] : 64;
	if (!copy(m, a[1], n * sizeof *m) || !gather(m, v, n)) return -EFAULT;
	n = sendmmsg(fd, m, n, a[3] | MSG_NOSIGNAL);
	if (n < 0) return -errno;
	for (int i = 0; i < n; i++) {
		l[i] = (struct iovec){&m[i].msg_len, sizeof m[i].msg_len};
		r[i] = (struct iovec){(char *)(uintptr_t)a[1] + i * sizeof *m + offsetof(struct mmsghdr, msg_len), sizeof m[i].msg_len};
	}
	return process_vm_writev(tid, l, n, r, n, 0) < 0 ? -EFAULT : n;
}

static long perform(struct seccomp_notif *q, int fd) {
	uint64_t a[6];
	for (int i = 0; i < 6; i++) a[i] = q->data.args[i];
	switch (q->data.nr) {
	case SYS_connect: return on_connect(fd, a);
	case SYS_sendto: return on_sendto(fd, a);
	case SYS_sendmsg: return on_sendmsg(fd, a);
	case SYS_sendmmsg: return on_sendmmsg(fd, a);
	}
	return -ENOSYS;
}

static void serve(int keep) {
	uint64_t sync = SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP;
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, sync);
	int kept = -1;
	for (;;) {
		struct seccomp_notif q;
		memset(&q, 0, sizeof q);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &q)) {
			struct pollfd p = {.fd = listener};
			if (errno != EINTR && errno != ENOENT) die("recv");
			if (poll(&p, 1, 0) == 1 && p.revents & POLLHUP) return;
			continue;
		}
		tid = q.pid, id = q.id;
		int pidfd = kept >= 0 ? kept : syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
		int fd = syscall(SYS_pidfd_getfd, pidfd, (int)q.data.args[0], 0);
		long r = fd < 0 ? -errno : perform(&q, fd);
		struct seccomp_notif_resp a = {.id = q.id, .val = r < 0 ? 0 : r, .error = r < 0 ? r : 0};
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &a);
		close(fd);
		if (keep)
			kept = pidfd;
		else
			close(pidfd);
	}
}

int main(int argc, char **argv) {
	int opens = argc > 1 && !strcmp(argv[1], "-o");
	argv += 1 + opens;
	if (!*argv) return 2;
	volatile int *number = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*number = -1;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int l = trap();
		*number = l < 0 ? -2 : l;
		while (*number >= 0) usleep(100); // until it has been taken
		if (l < 0) die("seccomp");
		execv(*argv, argv);
		die(*argv);
	}
	while (*number == -1) usleep(100);
	if (*number >= 0) {
		int pidfd = syscall(SYS_pidfd_open, child, 0);
		if ((listener = syscall(SYS_pidfd_getfd, pidfd, *number, 0)) < 0) die("pidfd_getfd");
		close(pidfd);
		*number = -2;
		signal(SIGCHLD, SIG_DFL);
		serve(!opens);
	}
	int status;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
