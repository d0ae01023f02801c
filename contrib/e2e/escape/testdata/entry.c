/* C: other entries into the kernel. */
#include "escape.h"
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#ifdef __x86_64__
static long int80(long nr, long a, long b, long c, long d, long e, long f)
{
	long r;
	__asm__ volatile("push %%rbp\n\tmov %[f], %%rbp\n\tint $0x80\n\tpop %%rbp"
			 : "=a"(r)
			 : "0"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "r"(f)
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)r;
}

struct low {
	struct sockaddr_in v4;
	char data[8];
	uint32_t args[6];
};

void c1_int80(const struct target *to)
{
	struct low *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	p->v4 = to->v4;
	memcpy(p->data, "trick", 5);
	long at = (long)&p->v4, data = (long)p->data, args = (long)p->args;
	int u = udp(AF_INET), t = tcp(AF_INET); /* its own, if the gate gives none */
	long fd = int80(359, AF_INET, SOCK_DGRAM, 0, 0, 0, 0);
	int80(369, fd >= 0 ? fd : u, data, 5, 0, at, sizeof p->v4);
	int80(362, fd >= 0 ? fd : u, at, sizeof p->v4, 0, 0, 0);
	int80(4, fd >= 0 ? fd : u, data, 5, 0, 0, 0); /* write */
	fd = int80(359, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
	if (int80(362, fd >= 0 ? fd : t, at, sizeof p->v4, 0, 0, 0) == 0)
		int80(4, fd >= 0 ? fd : t, data, 5, 0, 0, 0);
	memcpy(p->args, (uint32_t[]){ AF_INET, SOCK_DGRAM, 0 }, 12);
	fd = int80(102, 1, args, 0, 0, 0, 0); /* socketcall(SYS_SOCKET) */
	if (fd < 0)
		fd = u;
	memcpy(p->args, (uint32_t[]){ fd, data, 5, 0, at, sizeof p->v4 }, 24);
	int80(102, 11, args, 0, 0, 0, 0); /* SYS_SENDTO */
	memcpy(p->args, (uint32_t[]){ fd, at, sizeof p->v4 }, 12);
	if (int80(102, 3, args, 0, 0, 0, 0) == 0) /* SYS_CONNECT */
		send(fd, "trick", 5, 0);
	close(u);
	close(t);
}

void c2_x32(const struct target *to)
{
	const long x32 = 0x40000000;
	long s = syscall(x32 | SYS_socket, AF_INET, SOCK_DGRAM, 0);
	if (s < 0)
		s = udp(AF_INET);
	syscall(x32 | SYS_sendto, s, "trick", 5, 0, &to->v4, sizeof to->v4);
	if (syscall(x32 | SYS_connect, s, &to->v4, sizeof to->v4) == 0)
		send(s, "trick", 5, 0);
	close(s);
}
#else
void c1_int80(const struct target *to) { (void)to; }
void c2_x32(const struct target *to) { (void)to; }
#endif

void c6_fastopen(const struct target *to)
{
	struct sockaddr_in name = to->v4;
	struct sockaddr_in6 mapped = to->v6;
	struct iovec data = { "trick", 5 };
	struct mmsghdr m = { .msg_hdr = { .msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &data, .msg_iovlen = 1 } };
	int s = tcp(AF_INET);
	sendto(s, "trick", 5, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)SA(name));
	close(s);
	s = tcp(AF_INET);
	sendmsg(s, &m.msg_hdr, MSG_FASTOPEN | MSG_NOSIGNAL);
	close(s);
	s = tcp(AF_INET);
	sendmmsg(s, &m, 1, MSG_FASTOPEN | MSG_NOSIGNAL);
	close(s);
	s = tcp(AF_INET6);
	sendto(s, "trick", 5, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)SA(mapped));
	close(s);
}

void c7_fastopen_connect(const struct target *to)
{
	for (int i = 0; i < 2; i++) {
		int s = tcp(i ? AF_INET6 : AF_INET);
		setsockopt(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){ 1 }, sizeof(int));
		if (i)
			connect_to(s, SA(to->v6));
		else
			connect_to(s, SA(to->v4));
	}
}

/* Calls that name no destination, on sockets whose connect was refused. */
void c5_siblings(const struct target *to)
{
	struct iovec data = { "trick", 5 };
	char path[200];
	int p[2];
	snprintf(path, sizeof path, "%s/text", getenv("HOME"));
	int text = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	write(text, "trick", 5);
	for (int stream = 0; stream < 2; stream++) {
		int s = stream ? tcp(AF_INET) : udp(AF_INET);
		connect(s, (struct sockaddr *)SA(to->v4));
		write(s, "trick", 5);
		writev(s, &data, 1);
		pwritev2(s, &data, 1, -1, 0);
		lseek(text, 0, SEEK_SET);
		sendfile(s, text, NULL, 5);
		pipe(p);
		vmsplice(p[1], &data, 1, 0);
		splice(p[0], NULL, s, NULL, 5, 0);
		write(p[1], "trick", 5);
		splice(p[0], NULL, s, NULL, 5, 0);
		struct msghdr m = { .msg_iov = &data, .msg_iovlen = 1 };
		sendmsg(s, &m, MSG_NOSIGNAL);
		send(s, "trick", 5, MSG_NOSIGNAL | MSG_ZEROCOPY);
		close(p[0]);
		close(p[1]);
		close(s);
	}
	close(text);
}

void c8_mptcp(const struct target *to)
{
	connect_to(socket(AF_INET, SOCK_STREAM, 262), SA(to->v4));
	connect_to(socket(AF_INET6, SOCK_STREAM, 262), SA(to->v6));
}

/* Sockets that a jail must not have at all. */
static void must_not(int family, int type, int proto)
{
	int s = socket(family, type, proto);
	if (s >= 0)
		leak("socket(%d, %d, %d)", family, type, proto);
	close(s);
}

void c9_sctp(const struct target *to)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
	(void)to;
	for (int i = 0; i < 3; i++) {
		must_not(AF_INET, types[i], 132);
		must_not(AF_INET6, types[i], 132);
		must_not(AF_INET, types[i], 136);
		must_not(AF_INET6, types[i], 136);
		must_not(AF_INET, types[i], 33);
	}
}

void c11_vsock(const struct target *to)
{
	(void)to;
	must_not(AF_VSOCK, SOCK_STREAM, 0);
	must_not(AF_VSOCK, SOCK_DGRAM, 0);
	must_not(AF_VSOCK, SOCK_SEQPACKET, 0);
}

void c12_alg(const struct target *to)
{
	(void)to;
	must_not(AF_ALG, SOCK_SEQPACKET, 0);
}

void c10_families(const struct target *to)
{
	(void)to;
	for (int family = 3; family < 46; family++)
		if (family != AF_INET6 && family != AF_NETLINK && family != AF_PACKET && family != AF_VSOCK && family != AF_ALG)
			for (int type = 1; type <= 5; type++)
				must_not(family, type, 0);
}

void c13_netlink(const struct target *to)
{
	if (to == &allowed)
		return;
	for (int proto = 1; proto < 32; proto++) {
		must_not(AF_NETLINK, SOCK_RAW, proto);
		must_not(AF_NETLINK, SOCK_DGRAM, proto);
	}
	struct {
		struct nlmsghdr head;
		struct {
			unsigned char family;
		} body;
	} request = { { sizeof request, 18 /* RTM_GETLINK */, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { AF_UNSPEC } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	char answer[4096];
	int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (sendto(s, &request, sizeof request, 0, (struct sockaddr *)SA(kernel)) < 0 || recv(s, answer, sizeof answer, 0) < 16)
		dprintf(1, "BROKEN NETLINK_ROUTE: %s\n", strerror(errno));
	close(s);
}

void c14_raw(const struct target *to)
{
	/* A datagram that says it is from nobody's port to the target. */
	unsigned char datagram[13] = { 0, 9, to->port >> 8, to->port & 255, 0, 13, 0, 0, 't', 'r', 'i', 'c', 'k' };
	static const int protos[] = { IPPROTO_UDP, IPPROTO_RAW, IPPROTO_ICMP, IPPROTO_TCP };
	for (int i = 0; i < 4; i++) {
		must_not(AF_INET, SOCK_RAW, protos[i]);
		must_not(AF_INET6, SOCK_RAW, protos[i]);
	}
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
	sendto(s, datagram, sizeof datagram, 0, (struct sockaddr *)SA(to->v4));
	close(s);
	must_not(AF_PACKET, SOCK_RAW, 0);
	must_not(AF_PACKET, SOCK_DGRAM, 0);
	must_not(AF_INET, SOCK_PACKET, 0);
	must_not(AF_XDP, SOCK_RAW, 0);
}

static void up(void)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int s = udp(AF_INET);
	ioctl(s, SIOCSIFFLAGS, &r);
	close(s);
}

static void elsewhere(const struct target *to, int flags)
{
	int home = open("/proc/self/ns/net", O_RDONLY), old = udp(AF_INET), stream = tcp(AF_INET);
	if (unshare(flags) != 0)
		note("unshare(%x): %m", flags);
	up();
	send_to(old, SA(to->v4)); /* it stays where it was made */
	connect_to(stream, SA(to->v4));
	send_to(udp(AF_INET), SA(to->v4));
	connect_to(tcp(AF_INET), SA(to->v4));
	setns(home, CLONE_NEWNET);
	send_to(udp(AF_INET), SA(to->v4));
	connect_to(tcp(AF_INET), SA(to->v4));
	_exit(0);
}

void c17_namespaces(const struct target *to)
{
	static const int flags[] = { CLONE_NEWUSER | CLONE_NEWNET, CLONE_NEWNET, CLONE_NEWUSER };
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();
		if (pid == 0)
			elsewhere(to, flags[i]);
		waitpid(pid, NULL, 0);
	}
}

void c19_keys(const struct target *to)
{
	(void)to;
	long r = syscall(SYS_request_key, "user", "netjail-escape", "x", -2);
	if (r >= 0 || (errno != ENOSYS && errno != EPERM))
		leak("request_key looked: %s", strerror(errno));
}

void c20_hooks(const struct target *to)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	long r = syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a);
	if (r >= 0)
		leak("bpf made a map");
	close(r);
	int s = tcp(AF_INET);
	connect(s, (struct sockaddr *)SA(allowed.v4));
	setsockopt(s, IPPROTO_TCP, 31 /* TCP_ULP */, "tls", 3);
	connect(s, &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr));
	connect_to(s, SA(to->v4));
	s = tcp(AF_INET);
	setsockopt(s, IPPROTO_TCP, 31, "smc", 3);
	connect_to(s, SA(to->v4));
}
